"""The commands of a team lead beside a gateway, as processes: with one process and with workers."""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from emulator import Emulator
from tests.integration.conftest import Connect
from tests.integration.peer import chat_request
from tests.process.conftest import Configure
from tests.process.systemd import ROOT, FakeSystemd, GatewayService
from tests.support import KEY
from tests.waiting import LONGEST_WAIT, eventually

SETTINGS: dict[str, Any] = {
    "middlewares": ["request_id", {"api_key": {"keys": []}}],
    "admin": {"listen": "127.0.0.1:0"},
}


class CommandLine:
    """Runs commands with the configuration of a folder, each in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def run(self, line: str, *, status: int = 0, stdin: str = "", **environ: str) -> str:
        """Run a command; return what it prints, or what it says if it is refused."""
        usual = {n: v for n, v in os.environ.items() if not n.startswith("FITTEN_GATEWAY")}
        result = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "gateway", *line.split()],
            cwd=self.folder,
            env={**usual, "PYTHONPATH": str(ROOT), **environ},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=LONGEST_WAIT,
            check=False,
        )
        assert result.returncode == status, result.stderr
        return (result.stderr if status else result.stdout).strip()

    async def json(self, line: str, *, status: int = 0) -> Any:
        """Run a command; return the value that it prints."""
        return json.loads(await self.run(f"{line} --json", status=status))


@pytest.fixture
def commands(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


@pytest.mark.parametrize(
    ("output", "status", "says", "made"),
    [
        (">/dev/full", 1, "but its text could not be written: No space left on device.", True),
        (">/dev/full --json", 1, "could not be written: No space left on device.", True),
        (">&-", 2, "There is no standard output, so nothing was done.", False),
        ("2>&- | grep -c fg-", 0, "", True),  # hints do not go to the standard output
    ],
)
def test_a_key_whose_text_nobody_gets_is_not_made_or_named(
    tmp_path: Path, output: str, status: int, says: str, made: bool
) -> None:
    (tmp_path / "config.yaml").write_text("store: {url: sqlite:///team.db}\n")
    line = f"'{sys.executable}' -m gateway keys"
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run(text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", f"{line} {text}"],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            timeout=LONGEST_WAIT,
            check=False,
        )

    ran = run(f"add alice {output}")
    assert (ran.returncode, says in ran.stderr) == (status, True), ran.stderr
    assert len(ran.stderr.splitlines()) <= 1
    assert ran.stdout.strip() in ("", "1")
    assert (run("show alice").returncode == 0) is made


async def ask(url: str, key: str) -> tuple[int, str | None]:
    """Send a chat; return the status and the code of an error."""
    body = {"messages": [{"role": "user", "content": "[[say text=one%20two]]"}]}
    headers = {"Authorization": f"Bearer {key}"}
    connector = aiohttp.TCPConnector(force_close=True)  # any worker may get it
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        http.post(f"{url}/v1/chat/completions", json=body, headers=headers) as response,
    ):
        answer = await response.json()
        return response.status, answer.get("error", {}).get("code")


async def stopped(service: GatewayService) -> None:
    service.signal(signal.SIGTERM)
    assert await service.exit_status() == 0


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_month_of_a_team_lead(
    fake_systemd: FakeSystemd,
    configure: Configure,
    connect: Connect,
    commands: CommandLine,
    tmp_path: Path,
    workers: int,
) -> None:
    configure(**SETTINGS, server={"workers": workers})
    first = await commands.run("keys add early")  # before the first start
    service = await fake_systemd.start()
    url = fake_systemd.url
    assert await ask(url, first) == (200, None)
    await commands.run("teams add web --concurrency 20")
    key = await commands.run("keys add alice --team web --tokens-per-day 1m")
    for _ in range(6):
        assert await ask(url, key) == (200, None)
    await commands.run("keys set alice --routes fim")
    assert (await ask(url, key))[0] == 403
    await commands.run("keys set alice --routes all")
    await commands.run("keys block alice --reason lunch")
    for _ in range(6):
        assert await ask(url, key) == (403, "key_blocked")
    await commands.run("keys unblock alice")
    second = await commands.run("keys rotate alice --grace 1h")
    assert [await ask(url, one) for one in (key, second)] == [(200, None)] * 2
    third = await commands.run("keys rotate alice --grace 0")
    refused = (401, "invalid_api_key")
    assert [await ask(url, one) for one in (key, second, third)] == [refused, refused, (200, None)]
    await commands.run("teams block web")
    assert (await ask(url, third))[0] == 403
    await commands.run("teams unblock web")
    await commands.run("grant alice tokens_per_day 5k")
    peer = await connect(url)
    request = chat_request("[[endless]]", stream=True)
    await peer.send(request.replace(KEY.encode(), third.encode()))
    (live,) = await eventually_live(commands)
    assert (live["key"], live["team"], live["stream"]) == ("alice", "web", True)
    await commands.run(f"live end {live['id']}")
    await peer.until(b"ended_by_admin")
    other = await connect(url)
    await other.send(request.replace(KEY.encode(), third.encode()))
    await eventually_live(commands)
    blocked = await commands.json("keys block alice --end-requests")
    assert (blocked["state"], blocked["ended"]) == ("blocked", 1)
    await other.until(b"ended_by_admin")
    await commands.run("keys unblock alice")
    await commands.run("accounts pause demo_user")
    assert (await ask(url, third))[0] == 503
    await commands.run("accounts resume demo_user")
    await commands.run("accounts login demo_user")
    assert await ask(url, third) == (200, None)
    status = await commands.json("status")
    assert (status["ready"], status["workers"]) == (True, None if workers == 1 else 2)
    usage = await commands.json("usage --by key")
    assert {row["key"] for row in usage["rows"]} >= {"alice", "early"}
    await commands.run("keys forget alice")
    assert await ask(url, third) == refused
    actions = [row["action"] for row in (await commands.json("audit"))["rows"]]
    assert {"account.pause", "key.forget", "request.end", "team.block", "key.grant"} <= set(actions)
    await stopped(service)
    assert [one["name"] for one in (await commands.json("keys list"))["keys"]] == ["early"]
    stored = b"".join(content_of_files(tmp_path))
    for text in (first, key, second, third):
        assert text not in service.raw
        assert text[-20:].encode() not in stored


def content_of_files(folder: Path) -> Iterator[bytes]:
    """The store with its log, and the spool."""
    return (file.read_bytes() for file in folder.rglob("team.db*") if file.is_file())


async def eventually_live(commands: CommandLine) -> Any:
    """Return the open requests, as soon as there are some."""
    async with asyncio.timeout(LONGEST_WAIT):
        while True:
            found = (await commands.json("live list"))["requests"]
            if found:
                return found


async def test_the_socket_is_gone_after_a_stop_and_a_killed_gateway_leaves_no_trouble(
    fake_systemd: FakeSystemd, configure: Configure, commands: CommandLine, tmp_path: Path
) -> None:
    configure(**SETTINGS)
    service = await fake_systemd.start()
    socket = tmp_path / "admin.sock"
    assert socket.stat().st_mode & 0o777 == 0o600
    await stopped(service)
    assert not socket.exists()
    service = await fake_systemd.start()
    service.signal(signal.SIGKILL)
    await service.exit_status()
    assert socket.exists()
    key = await commands.run("keys add alice")
    await fake_systemd.start()
    assert await ask(fake_systemd.url, key) == (200, None)
    assert (await commands.json("status"))["ready"]


@pytest.mark.skipif(
    os.geteuid() != 0 or "CONFINED" in os.environ, reason="only root may act as another user"
)
async def test_another_user_is_told_that_the_socket_is_not_his(
    fake_systemd: FakeSystemd, configure: Configure, tmp_path: Path
) -> None:
    configure(**SETTINGS)
    await fake_systemd.start()
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from gateway.admin.client.connection import AdminConnection\n"
        "from gateway.admin.client.refusal import NoGateway\n"
        "folder = os.open(sys.argv[1], os.O_RDONLY)\n"
        "os.fchdir(folder)\n"
        "os.setuid(64999)\n"
        "try:\n    AdminConnection(Path('admin.sock')).check()\n"
        "except NoGateway as error:\n    sys.exit(7 if error.denied else 8)\n"
    )
    result = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=LONGEST_WAIT,
        check=False,
    )
    assert result.returncode == 7


async def test_what_init_has_set_up_starts_and_answers_to_the_first_key(
    fake_systemd: FakeSystemd, emulator: Emulator, commands: CommandLine, tmp_path: Path
) -> None:
    printed = await commands.run(
        "init --username demo_user --config config.yaml --admin-port 0", stdin="correct horse\n"
    )
    key, admin_key = re.findall(r"fga?-\S+", printed)
    file = tmp_path / "config.yaml"
    addresses = f"fitten:\n  base_url: {emulator.url}\n  models_url: {emulator.url}\n"
    file.write_text(file.read_text().replace("fitten:\n", addresses, 1))
    service = await fake_systemd.start()
    assert await ask(fake_systemd.url, key) == (200, None)
    listening = await eventually(lambda: re.search(r"admin_listening\s+url=(\S+)", service.raw))
    remote = {
        "FITTEN_GATEWAY_ADMIN_URL": re.sub(r"\x1b\[\d*m", "", listening[1]),
        "FITTEN_GATEWAY_ADMIN_KEY": admin_key,
    }
    assert "first" in await commands.run("keys list", **remote)
    refusal = await commands.run(
        "keys list", status=1, **{**remote, "FITTEN_GATEWAY_ADMIN_KEY": key}
    )
    assert key not in refusal
    await stopped(service)


AT_A_TERMINAL = """
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from gateway.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_password_that_is_typed_at_a_terminal_is_not_shown(tmp_path: Path) -> None:
    master, slave = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", AT_A_TERMINAL, "init"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    ) as process:
        os.close(slave)
        try:
            shown = type_when_asked(
                master, [(b"user name: ", b"ada\n"), (b"shown): ", b"horse9\n")]
            )
            assert process.wait(LONGEST_WAIT) == 0, shown
        finally:
            process.kill()
            os.close(master)
    assert b"user name: ada" in shown
    assert b"horse9" not in shown
    assert (tmp_path / "secrets" / "fitten-password").read_text() == "horse9\n"


def type_when_asked(master: int, answers: list[tuple[bytes, bytes]]) -> bytes:
    """Type each answer after its question; return all that the terminal shows until its end."""
    shown = b""
    left = list(answers)
    while select.select([master], [], [], LONGEST_WAIT)[0]:
        try:
            part = os.read(master, 4096)
        except OSError:  # Linux's word for the end
            break
        if not part:
            break
        shown += part
        if left and shown.endswith(left[0][0]):
            os.write(master, left.pop(0)[1])
    return shown
