"""`doctor --tools`, as a process before the emulator."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from emulator import EmulatedAccount, Emulator
from gateway.store.state_lock import StateLock
from tests.process.conftest import Configure
from tests.process.systemd import ROOT, FakeSystemd
from tests.waiting import LONGEST_WAIT, eventually

CHAT, LOGIN = "/codeapi/chat_auth", "/codeuser/auth/login"


@pytest.fixture(autouse=True)
def _configured(configure: Configure) -> None:
    """Every test has a configuration."""


@asynccontextmanager
async def started(
    folder: Path, *arguments: str, command: str = "doctor", **options: Any
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a command of the gateway in a folder with a configuration."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", command, *arguments),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        **{
            "stdin": asyncio.subprocess.DEVNULL,
            "stdout": asyncio.subprocess.PIPE,
            "stderr": asyncio.subprocess.PIPE,
            **options,
        },
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def doctor(folder: Path, *arguments: str, command: str = "doctor") -> tuple[int, str, str]:
    """Run the doctor to its end; return its exit status, stdout and stderr."""
    async with started(folder, *arguments, command=command) as process, asyncio.timeout(
        LONGEST_WAIT
    ):  # fmt: skip
        stdout, stderr = await process.communicate()
    assert process.returncode is not None
    assert b"Traceback" not in stderr
    return process.returncode, stdout.decode(), stderr.decode()


async def test_without_a_check_the_doctor_names_those_that_exist(tmp_path: Path) -> None:
    status, stdout, stderr = await doctor(tmp_path)
    assert (status, stdout) == (2, "")
    assert "--tools" in stderr


async def test_the_doctor_prints_a_table_and_a_line_that_check_accepts(
    tmp_path: Path, emulator: Emulator
) -> None:
    status, stdout, stderr = await doctor(tmp_path, "--tools", "--yes")
    assert status == 0, stderr
    rows = [re.split(r"  +", line) for line in stdout.splitlines() if re.match("hybrid|json", line)]
    assert [row[0] for row in rows if len(row) == 10] == ["hybrid", "json"]
    assert re.search(r"(?m)^Even with (hybrid|json), only 0 of \d+ were exact\.$", stdout)
    line = stdout.splitlines()[-1]
    assert re.fullmatch(r'tools: \{notation: \{"fitten-code": (hybrid|json)\}\}', line)
    with (tmp_path / "config.yaml").open("a") as config:
        config.write(f"{line}\n")
    status, stdout, stderr = await doctor(tmp_path, command="check")
    assert (status, stderr) == (0, "")
    assert yaml.safe_load(stdout)["tools"]["notation"] == yaml.safe_load(line)["tools"]["notation"]
    assert len(emulator.calls_to(LOGIN)) == 1


async def test_what_it_will_cost_is_said_first_and_is_about_right(
    tmp_path: Path, emulator: Emulator
) -> None:
    status, stdout, stderr = await doctor(tmp_path, "--tools", "--yes", "--json")
    assert status == 0, stderr
    said = re.search(r"That is (\d+) chats, with about ([\d,]+) characters of prompts", stderr)
    assert said is not None
    assert "the first of fitten.accounts: demo_user" in stderr
    assert stderr.index("That is") < stderr.index("hybrid 1/")
    prompts = [len(call.body["inputs"]) for call in emulator.calls_to(CHAT)]
    data = json.loads(stdout)
    repairs = sum(found["repairs"] for found in data["notations"])
    assert len(prompts) == int(said[1]) + repairs
    assert 0.5 < sum(prompts) / int(said[2].replace(",", "")) < 1.5
    assert sum(found["characters_in"] for found in data["notations"]) == sum(prompts)


async def test_the_result_as_json_has_every_turn_and_nothing_else_is_on_stdout(
    tmp_path: Path,
) -> None:
    arguments = ("--tools", "--yes", "--json", "--notation", "json", "--model", "deepseek v3")
    status, stdout, stderr = await doctor(tmp_path, *arguments)
    assert status == 0, stderr
    data = json.loads(stdout)
    assert (data["model"], data["winner"]) == ("DeepSeek V3", "json")
    assert yaml.safe_load(data["config"]) == {"tools": {"notation": {"DeepSeek V3": "json"}}}
    (found,) = data["notations"]
    assert found["turns"] == len(found["runs"])
    assert all(run["characters_in"] > run["characters_out"] > 0 for run in found["runs"])


async def test_only_the_first_account_is_used_and_the_tokens_of_the_others_stay(
    tmp_path: Path, configure: Configure
) -> None:
    accounts = [EmulatedAccount("first", "one horse"), EmulatedAccount("second", "two horses")]
    async with Emulator(accounts=accounts) as fitten:
        configure(
            fitten={
                "base_url": fitten.url,
                "models_url": fitten.url,
                "accounts": [
                    {"username": account.username, "password": account.password}
                    for account in accounts
                ],
            }
        )
        async with started(tmp_path, command="serve"):
            await eventually(lambda: stored(tmp_path) == 2)
        before = len(fitten.calls_to(LOGIN))
        status, _, stderr = await doctor(tmp_path, "--tools", "--yes", "--notation", "json")
        assert status == 0, stderr
        assert "first of fitten.accounts: first" in stderr
        users = {call.query["ft_token"] for call in fitten.calls_to(CHAT)}
        assert users == {accounts[0].user_id}
        assert len(fitten.calls_to(LOGIN)) == before  # the stored tokens are used
    assert stored(tmp_path) == 2


def stored(folder: Path) -> int:
    """Return how many accounts the state file has."""
    file = folder / "fitten.json"
    return len(json.loads(file.read_text())["accounts"]) if file.exists() else 0


@pytest.mark.parametrize("workers", [1, 2])
async def test_the_doctor_refuses_to_run_beside_a_gateway(
    fake_systemd: FakeSystemd,
    configure: Configure,
    tmp_path: Path,
    emulator: Emulator,
    workers: int,
) -> None:
    configure(server={"workers": workers})
    service = await fake_systemd.start()
    before = len(emulator.calls)
    status, stdout, stderr = await doctor(tmp_path, "--tools", "--yes")
    assert (status, stdout) == (2, "")
    assert f"uses the accounts of {tmp_path / 'fitten.json'}. Stop it first" in stderr
    assert not [call for call in list(emulator.calls)[before:] if call.path in (LOGIN, CHAT)]
    service.signal(signal.SIGTERM)
    await service.exit_status()
    status, _, stderr = await doctor(tmp_path, "--tools", "--yes", "--notation", "json")
    assert status == 0, stderr


async def test_the_doctor_refuses_to_run_beside_a_gateway_with_another_state_file(
    fake_systemd: FakeSystemd, configure: Configure, tmp_path: Path
) -> None:
    await fake_systemd.start()
    port = fake_systemd.listening.getsockname()[1]
    other = {"state_file": str(tmp_path / "other.json")}
    configure(server={"port": port}, fitten=other)
    status, stdout, stderr = await doctor(tmp_path, "--tools", "--yes")
    assert (status, stdout) == (2, "")
    assert f"A gateway answers at port {port} of 127.0.0.1. Stop it first" in stderr


async def test_another_program_at_the_port_is_not_taken_for_a_gateway(
    configure: Configure, tmp_path: Path, emulator: Emulator
) -> None:
    port = int(emulator.url.rpartition(":")[2])
    configure(server={"port": port})
    status, _, stderr = await doctor(tmp_path, "--tools", "--yes", "--notation", "json")
    assert status == 0, stderr


async def test_a_gateway_that_starts_while_the_doctor_runs_serves_and_logs_a_warning(
    fake_systemd: FakeSystemd, configure: Configure, tmp_path: Path
) -> None:
    async with Emulator(pace=0.5) as slow:
        configure(fitten={"base_url": slow.url, "models_url": slow.url})
        async with started(tmp_path, "--tools", "--yes"):
            await eventually(lambda: len(slow.calls_to(CHAT)) > 0)
            service = await fake_systemd.start()
            line = await service.event("state_file_in_use")
            assert line["level"] == "warning"


async def test_without_a_terminal_and_without_yes_nothing_is_sent(
    tmp_path: Path, emulator: Emulator
) -> None:
    status, stdout, stderr = await doctor(tmp_path, "--tools")
    assert (status, stdout) == (2, "")
    assert "Nothing was sent: there is no terminal to ask for confirmation. Add --yes." in stderr
    assert len(emulator.calls) == 0


@pytest.mark.parametrize(("answer", "expected"), [("y\n", 0), ("n\n", 2), ("\n", 2), ("\x04", 2)])
async def test_on_a_terminal_it_asks(
    tmp_path: Path, emulator: Emulator, answer: str, expected: int
) -> None:
    master, terminal = os.openpty()
    try:
        options = ("--tools", "--notation", "json")
        async with started(tmp_path, *options, stdin=terminal) as process:
            assert process.stderr is not None
            await process.stderr.readuntil(b"Continue? [y/N] ")
            assert len(emulator.calls) == 0
            os.write(master, answer.encode())
            async with asyncio.timeout(LONGEST_WAIT):
                await process.communicate()
        assert process.returncode == expected
        assert (len(emulator.calls_to(CHAT)) > 0) == (expected == 0)
    finally:
        os.close(master)
        os.close(terminal)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--notation", "xml"), "--notation: expected hybrid or json, not 'xml'."),
        (("--notation", "auto"), "--notation: expected hybrid or json, not 'auto'."),
        (("--model", "gpt-9"), "--model: there is no model 'gpt-9'; known: fitten-code, Default,"),
        (("--config", "none.yaml"), "none.yaml: cannot be read"),
    ],
)
async def test_mistakes_of_the_command_line_exit_2_and_send_no_chat(
    tmp_path: Path, emulator: Emulator, arguments: tuple[str, ...], says: str
) -> None:
    status, stdout, stderr = await doctor(tmp_path, "--tools", "--yes", *arguments)
    assert (status, stdout) == (2, "")
    assert says in stderr
    assert emulator.calls_to(CHAT) == []


async def test_a_refused_login_exits_1_with_its_reason(
    tmp_path: Path, configure: Configure, emulator: Emulator
) -> None:
    account = {"username": "demo_user", "password": "wrong horse"}
    configure(fitten={"accounts": [account]})
    status, stdout, stderr = await doctor(tmp_path, "--tools", "--yes")
    assert (status, stdout) == (1, "")
    assert "doctor: The login failed. Fitten refuses the gateway's user name or pass" in stderr
    assert "wrong horse" not in stderr
    assert emulator.calls_to(CHAT) == []


async def test_no_fitten_exits_1_with_its_reason(tmp_path: Path, configure: Configure) -> None:
    nowhere = "http://127.0.0.1:9"
    configure(fitten={"base_url": nowhere, "models_url": nowhere})
    status, stdout, stderr = await doctor(tmp_path, "--tools", "--yes")
    assert (status, stdout) == (1, "")
    assert "doctor: The login failed. Fitten cannot be reached" in stderr


async def test_when_fitten_fails_it_stops_early_and_names_no_notation(
    tmp_path: Path, configure: Configure
) -> None:
    account = EmulatedAccount("demo_user", "correct horse", scenarios={"chat_500"})
    async with Emulator(accounts=[account]) as failing:
        configure(fitten={"base_url": failing.url, "models_url": failing.url})
        status, stdout, stderr = await doctor(tmp_path, "--tools", "--yes")
        assert status == 1
        assert "Stopped: 3 turns failed one after another." in stderr
        assert "The turns were not run to the end." in stdout
        assert "tools:" not in stdout
        assert len(failing.calls_to(CHAT)) == 3


async def test_an_interrupt_ends_it_with_130_and_closes_its_connections(
    tmp_path: Path, configure: Configure
) -> None:
    async with Emulator(pace=0.5) as slow:
        configure(fitten={"base_url": slow.url, "models_url": slow.url})
        async with started(tmp_path, "--tools", "--yes") as process:
            await eventually(lambda: len(slow.calls_to(CHAT)) > 0)
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(LONGEST_WAIT):
                _, stderr = await process.communicate()
        assert process.returncode == 130
        assert b"Traceback" not in stderr
        assert stderr.endswith(b"Interrupted; nothing was measured to the end.\n")
        (chat,) = slow.calls_to(CHAT)
        await eventually(chat.closed.is_set)
    with StateLock() as lock:
        assert lock.take(tmp_path / "fitten.json")


async def test_an_interrupt_at_the_question_ends_it_with_130(tmp_path: Path) -> None:
    master, terminal = os.openpty()
    try:
        async with started(tmp_path, "--tools", stdin=terminal) as process:
            assert process.stderr is not None
            await process.stderr.readuntil(b"Continue? [y/N] ")
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(LONGEST_WAIT):
                _, stderr = await process.communicate()
        assert process.returncode == 130
        assert b"Traceback" not in stderr
    finally:
        os.close(master)
        os.close(terminal)


async def test_a_state_file_in_a_folder_of_another_user_is_named(
    tmp_path: Path, configure: Configure
) -> None:
    (tmp_path / "fitten.json.lock").mkdir()
    status, _, stderr = await doctor(tmp_path, "--tools", "--yes")
    assert status == 2
    assert f"The state file {tmp_path / 'fitten.json'} cannot be locked: Is a directory." in stderr
