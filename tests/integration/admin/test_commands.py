"""Every command of those who run a gateway, against a running one and against none."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from gateway import cli
from gateway.admin.client.command_line import COMMANDS, add_commands
from gateway.admin.client.remote import RemoteAdministration
from gateway.ledger.writer_lock import writer_lock
from tests.integration.admin.ledger import FORMULA, fill
from tests.integration.admin.support import (
    ROOT_KEY,
    VIEWER_KEY,
    AdminUnderTest,
    running_admin,
    settings,
)
from tests.unit.ledger.support import row

TEXT = re.compile(r"fga?-[a-z2-7]{12}-[0-9A-Za-z]{49}")
TEAMS = [{"name": "ops", "tokens_per_day": 1000}]
API_KEYS = [
    {"name": "ci", "key": "key-of-ci-0123456789", "team": "ops", "concurrency": 2, "models": []},
    {"name": "ci", "key": "new-key-of-ci-0123456789", "routes": ["fim", "chat"]},
]
SECTIONS: dict[str, Any] = {
    "teams": TEAMS,
    "middlewares": [{"api_key": {"keys": API_KEYS}}],
    "server": {"time_zone": "Asia/Shanghai"},
}

# Each command with everything it can be given, and what it must not do.
SCRIPT = """
keys list
keys add alice --tokens-per-day 2m --chats-per-minute 60 --expires 90d --note first
keys add alice
keys add ci
keys add bob --models a,b --routes chat --team none
teams add web --concurrency 5 --note all
teams add ops
teams set web --name site --tokens-per-month 1.5m --concurrency none
keys set alice --team site --models all --tokens-per-day none --concurrency 0 --expires never
keys set alice --name ally --note none
keys set ally
keys set nobody --note x
keys set ci --note x
keys add carl --team nowhere
keys add dora --team ops
keys list --team site
keys show ally
keys show ci
keys show nobody
keys block ally --reason leaked
keys unblock ally
keys rotate ally --grace 1h
keys rotate ally --grace 0
keys delete bob
keys delete bob
keys add bob
teams list
teams show site
teams show ops
teams block site
keys list
teams unblock site
grant ally tokens_per_day 500k
keys set ally --tokens-per-day 1m
grant ally tokens_per_day 500k --period 2030-01-02 --reason release
grant site tokens_per_month 1m --team
grant ci tokens_per_day 1k
grant ops tokens_per_day 1k --team
teams delete site
teams delete site --keys move:site
teams delete site --keys block
teams add gone
teams forget gone --keys refuse
admin-keys list
admin-keys add eve --role viewer --expires 30d --note auditor
admin-keys add root --role viewer
admin-keys set eve --role metrics --name eva
admin-keys show eva
admin-keys block eva --reason left
admin-keys unblock eva
admin-keys rotate eva
admin-keys list
admin-keys delete eva
admin-keys forget eva
keys forget ally
keys list
audit
audit --since 7d --actor nobody --limit 5
audit --action key.rotate --limit 1
""".strip().splitlines()
OF_THE_NODE = {
    *(f"accounts {action}" for action in ("list", "pause", "resume", "login")),
    *("live list", "live end", "status"),
}


@dataclass
class Ran:
    """What a command printed."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The value that it printed."""
        return json.loads(self.out)


class Shell:
    """Runs commands in a thread, as a shell would, with a configuration."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._config = str(folder / "config.yaml")
        self._capsys = capsys

    async def run(self, *words: str) -> Ran:
        """Run a command with the configuration of this folder."""
        return await self.bare(*words, "--config", self._config)

    async def bare(self, *words: str) -> Ran:
        """Run a command as it is."""
        self._capsys.readouterr()
        status = await asyncio.to_thread(cli.main, words)
        printed = self._capsys.readouterr()
        return Ran(status, printed.out, printed.err)


@pytest.fixture(autouse=True)
def no_address(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No variable of this shell, and no log among what commands print."""
    for name in ("URL", "KEY"):
        monkeypatch.delenv(f"FITTEN_GATEWAY_ADMIN_{name}", raising=False)
    with capture_logs():
        yield


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, capsys)


def without_chance(text: str, ids: set[str]) -> str:
    """Replace what differs from run to run: ids, texts of keys, times, ids of requests."""
    text = TEXT.sub("TEXT", text)
    for one in ids:
        text = text.replace(one, "ID")
    text = re.sub(r', "applied": \{[^}]*\}', "", text)
    text = re.sub(r'"last4": ("[^"]*"|\[[^\]]*\])', '"last4": LAST', text)
    text = re.sub(r'"request_id": "[^"]*"', '"request_id": ""', text)
    text = re.sub(r"\b1[0-9]{12}\b", "TIME", text)
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "MINUTE", text)


async def run_script(shell: Shell) -> list[tuple[str, int, str, str]]:
    """Run the script; return each line with its exit status and what it printed."""
    ran = [(line, await shell.run(*line.split(), "--json")) for line in SCRIPT]
    printed = "".join(one.out for _, one in ran)
    ids = set(re.findall(r'(?:"id": |"team_id": \[null, )"([a-z2-7]{12})"', printed))
    return [
        (line, one.status, without_chance(one.out, ids), without_chance(one.err, ids))
        for line, one in ran
    ]


async def test_each_command_says_the_same_with_a_gateway_and_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [tmp_path / "with", tmp_path / "without"]
    for folder in folders:
        folder.mkdir()
    configs = [settings(folder, **SECTIONS) for folder in folders]
    async with running_admin(configs[0]) as admin:
        online = await run_script(Shell(folders[0], capsys))
        assert admin.node.published, "the gateway has made the changes"
    offline = await run_script(Shell(folders[1], capsys))
    for one, other in zip(online, offline, strict=True):
        assert one == other
    statuses = dict(zip(SCRIPT, (status for _, status, _, _ in offline), strict=True))
    refused = {line for line, status in statuses.items() if status}
    assert refused == {
        *("keys add alice", "keys add ci", "teams add ops", "keys set nobody --note x"),
        *("keys set ci --note x", "keys add carl --team nowhere"),
        *("keys show nobody", "keys delete bob", "grant ci tokens_per_day 1k"),
        *("grant ops tokens_per_day 1k --team", "teams delete site"),
        *("teams delete site --keys move:site", "admin-keys add root --role viewer"),
    }


def actions(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The names of the commands of a parser, each with those below it."""
    inner = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not inner:
        yield ""
    for name, below in (pair for action in inner for pair in action.choices.items()):
        yield from (f"{name} {rest}".strip() for rest in actions(below))


def test_the_script_has_every_command() -> None:
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    known = set(actions(parser))
    assert {name.split()[0] for name in known} == set(COMMANDS)
    tried = {name for name in known for line in SCRIPT if f"{line} ".startswith(f"{name} ")}
    assert known - tried == OF_THE_NODE


def usual(folder: Path) -> None:
    """Write the settings of a gateway that does not run."""
    settings(folder, **SECTIONS)


@pytest.mark.parametrize("kind", ["keys", "admin-keys"])
async def test_only_the_text_of_a_key_is_printed_and_hints_go_elsewhere(
    shell: Shell, tmp_path: Path, kind: str
) -> None:
    usual(tmp_path)
    role = ["--role", "viewer"] if kind == "admin-keys" else []
    made = await shell.run(kind, "add", "alice", *role)
    (line,) = made.out.splitlines()
    assert TEXT.fullmatch(line)
    assert line.startswith("fg-" if kind == "keys" else "fga-")
    assert "alice" in made.err
    assert "shown this once" in made.err
    assert line not in made.err
    rotated = await shell.run(kind, "rotate", "alice", "--grace", "0")
    assert TEXT.fullmatch(rotated.out.strip())
    assert rotated.out != made.out
    assert "the former text is refused from now on" in rotated.err
    for words in ((kind, "list"), (kind, "show", "alice"), ("audit",)):
        for more in ((), ("--json",)):
            shown = await shell.run(*words, *more)
            assert shown.status == 0
            assert not TEXT.search(shown.out + shown.err)


async def test_a_person_gets_tables(shell: Shell, tmp_path: Path) -> None:
    usual(tmp_path)
    await shell.run("teams", "add", "web")
    await shell.run("keys", "add", "alice", "--tokens-per-day", "2m", "--team", "web")
    await shell.run("keys", "block", "alice", "--reason", "lost laptop")
    head, alice, ci = (await shell.run("keys", "list")).out.splitlines()
    assert head.split()[:5] == ["name", "id", "state", "team", "limits"]
    assert "blocked  web   tokens_per_day=2m" in alice
    assert ci.split()[:5] == ["ci", "(config.yaml)", "active", "ops", "concurrency=2"]
    shown = (await shell.run("keys", "show", "alice")).out
    assert "blocked reason: lost laptop\n" in shown
    assert "models: all\n" in shown
    rows = (await shell.run("audit")).out
    assert "blocked_reason: none -> lost laptop" in rows
    assert "local:" in rows
    teams = (await shell.run("teams", "list")).out.splitlines()
    assert [line.split()[0] for line in teams] == ["name", "ops", "web"]


async def test_over_tcp_a_key_of_the_environment_or_of_a_private_file_is_needed(
    admin: AdminUnderTest, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = ("--url", admin.url)
    none = await shell.bare("keys", "list", *address)
    assert (none.status, none.out) == (1, "")
    assert none.err.startswith("There is no admin key. Set FITTEN_GATEWAY_ADMIN_KEY, or name a fi")
    monkeypatch.setenv("FITTEN_GATEWAY_ADMIN_KEY", ROOT_KEY)
    assert (await shell.bare("keys", "add", "alice", *address)).status == 0
    monkeypatch.setenv("FITTEN_GATEWAY_ADMIN_URL", admin.url)
    assert (await shell.bare("keys", "show", "alice")).status == 0
    file = tmp_path / "key"
    file.write_text(f"{VIEWER_KEY}\n")
    file.chmod(0o640)
    refused = await shell.bare("keys", "list", *address, "--key-file", str(file))
    assert (refused.status, "chmod 600" in refused.err) == (1, True)
    file.chmod(0o600)
    assert (await shell.bare("keys", "list", *address, "--key-file", str(file))).status == 0
    viewer = await shell.bare("keys", "add", "bob", *address, "--key-file", str(file), "--json")
    assert (viewer.status, viewer.json["error"]["code"]) == (1, "forbidden")
    monkeypatch.setenv("FITTEN_GATEWAY_ADMIN_KEY", "nonsense-0123456789")
    assert "401" in (await shell.bare("keys", "list", "--json")).out
    actors = {row["actor"] for row in (await admin.call("GET", "/audit")).body["rows"]}
    assert actors == {"root"}


async def test_two_admins_do_not_undo_each_other(
    admin: AdminUnderTest, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    await admin.make_key("alice")
    find = RemoteAdministration.find

    def found_too_early(self: RemoteAdministration, *arguments: Any) -> Any:
        """Another admin changes the key after it was read."""
        found = find(self, *arguments)
        found["version"] -= 1
        return found

    assert (await shell.run("keys", "set", "alice", "--note", "first")).status == 0
    monkeypatch.setattr(RemoteAdministration, "find", found_too_early)
    second = await shell.run("keys", "set", "alice", "--note", "second", "--json")
    assert (second.status, second.json["error"]["status"]) == (1, 412)
    assert (await admin.call("GET", "/keys/alice")).body["note"] == "first"


async def test_the_node_is_seen_and_changed(admin: AdminUnderTest, shell: Shell) -> None:
    status = (await shell.run("status")).out
    assert re.search(r"^ready: (True|False)$", status, re.MULTILINE)
    assert (await shell.run("status", "--json")).json["accounts"] == 1
    for action, state in (("pause", "paused"), ("resume", "healthy")):
        more = ["--for", "30m"] if action == "pause" else []
        changed = await shell.run("accounts", action, "ada", *more, "--json")
        assert (changed.status, changed.json["state"]) == (0, state)
    await shell.run("accounts", "pause", "ada")
    table = (await shell.run("accounts", "list")).out
    assert re.search(r"^ada +paused +0 of 4 +0 of 8 ", table, re.MULTILINE)
    assert "no account" in (await shell.run("accounts", "resume", "bob")).err
    assert (await shell.run("live", "list")).out.startswith("id  at  key")
    assert (await shell.run("live", "list", "--json")).json["requests"] == []
    ended = await shell.run("live", "end", "0" * 32, "--json")
    assert (ended.status, ended.json["error"]["code"]) == (1, "not_found")


@pytest.mark.parametrize("command", sorted(OF_THE_NODE))
async def test_what_needs_a_gateway_says_so_where_none_runs(
    shell: Shell, tmp_path: Path, command: str
) -> None:
    usual(tmp_path)
    needs_name = command.split()[1:] not in ([], ["list"])
    ran = await shell.run(*command.split(), *(["x"] if needs_name else []))
    assert (ran.status, ran.out) == (1, "")
    socket = tmp_path / "state" / "admin.sock"
    assert ran.err.startswith(f"No gateway runs here: nothing listens at {socket}.")


async def test_a_gateway_without_a_store_and_no_gateway_say_the_same(
    tmp_path: Path, shell: Shell
) -> None:
    config = settings(tmp_path, store={"url": "none"})
    alone = await shell.run("keys", "list", "--json")
    async with running_admin(config):
        served = await shell.run("keys", "list", "--json")
    for ran in (alone, served):
        assert (ran.status, ran.json["error"]["code"]) == (1, "no_store")
        assert "store: {url:" in ran.err


async def test_while_a_gateway_holds_the_store_nothing_else_writes_it(
    tmp_path: Path, shell: Shell
) -> None:
    usual(tmp_path)
    with writer_lock(tmp_path / "state" / "team.db"):
        ran = await shell.run("keys", "add", "alice")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith(f"A gateway uses {tmp_path / 'state' / 'team.db'}, but nothing li")
    assert (await shell.run("keys", "add", "alice")).status == 0


async def test_a_wrong_configuration_exits_2_and_names_the_line(
    tmp_path: Path, shell: Shell
) -> None:
    (tmp_path / "config.yaml").write_text("\nstore: {url: postgres}\n")
    ran = await shell.run("keys", "list")
    assert (ran.status, ran.out) == (2, "")
    assert "config.yaml:2: store.url: expected none, or an address" in ran.err


LEDGER = (
    "usage",
    "usage --by day,model --since 2026-11-29 --until 2026-11-30",
    "usage --by team,route --key alice",
    "usage --since 20000d",
    "requests",
    "requests --limit 3 --key alice --route chat",
    "requests --failed",
    "requests --since 20000d --status 200",
    "requests --cause no_such_cause",
)


async def test_the_ledger_is_the_same_from_this_machine_and_from_another(
    admin: AdminUnderTest, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(admin)
    here = {line: await shell.run(*line.split(), "--json") for line in LEDGER}
    tables = {line: await shell.run(*line.split()) for line in LEDGER}
    csv = await shell.run("usage", "--by", "key,model", "--csv")
    rows = {line: len(ran.json["rows"]) for line, ran in here.items()}
    assert rows.pop(LEDGER[-1]) == 0
    assert all(rows.values()), rows
    monkeypatch.setenv("FITTEN_GATEWAY_ADMIN_URL", admin.url)
    monkeypatch.setenv("FITTEN_GATEWAY_ADMIN_KEY", ROOT_KEY)
    for line in LEDGER:
        assert (await shell.bare(*line.split(), "--json")).json == here[line].json
        assert await shell.bare(*line.split()) == tables[line]
    assert await shell.bare("usage", "--by", "key,model", "--csv") == csv
    assert f"'{FORMULA}" in csv.out
    (newest,) = (await shell.bare("requests", "--limit", "1", "--json")).json["rows"]
    for one in (newest["id"], newest["request_id"]):
        found = (await shell.bare("requests", "--id", one, "--json")).json["rows"]
        monkeypatch.delenv("FITTEN_GATEWAY_ADMIN_URL")
        assert (await shell.run("requests", "--id", one, "--json")).json["rows"] == found
        assert newest in found
        monkeypatch.setenv("FITTEN_GATEWAY_ADMIN_URL", admin.url)
    monkeypatch.setenv("FITTEN_GATEWAY_ADMIN_KEY", VIEWER_KEY)
    assert (await shell.bare("usage")).status == 0
    refused = await shell.bare("requests", "--json")
    assert (refused.status, refused.json["error"]["code"]) == (1, "forbidden")


async def test_a_day_is_that_of_the_gateway_and_not_of_the_machine_of_the_command(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone = ZoneInfo("Asia/Kolkata")
    times = [datetime(2026, 11, day, hour, tzinfo=zone) for day in (28, 29, 30) for hour in (0, 23)]
    rows = [row(at=round(at.timestamp() * 1000), day=f"{at:%Y-%m-%d}") for at in times]
    async with running_admin(settings(tmp_path, server={"time_zone": zone.key})) as admin:
        fill(admin, *rows)
        monkeypatch.setenv("FITTEN_GATEWAY_ADMIN_KEY", ROOT_KEY)
        for words in ("--since 2026-11-29 --until 2026-11-29", "--since 2026-11-30"):
            line = f"requests --json {words}".split()
            here, there = await shell.run(*line), await shell.bare(*line, "--url", admin.url)
            assert len(here.json["rows"]) == 2
            assert there.json == here.json


async def test_a_wrong_option_of_the_ledger_exits_2_from_another_machine_too(
    admin: AdminUnderTest, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FITTEN_GATEWAY_ADMIN_KEY", ROOT_KEY)
    for line in ("usage --by day,day", "usage --since soon", "requests --until tomorrow"):
        assert (await shell.bare(*line.split(), "--url", admin.url)).status == 2
