"""The emulator as a process of its own: command line and control endpoints."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from emulator import ACCOUNT_SCENARIOS, Emulator
from emulator.__main__ import main
from emulator.scenarios.registry import SCENARIOS
from tests.unit.emulator.support import EmulatorClient
from tests.waiting import LONGEST_WAIT


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_prints_its_url_serves_and_ends_cleanly(
    client: EmulatorClient, number: signal.Signals
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "emulator", "--port", "0", "--account", "ann:a:b", "--pace", "0"),
        cwd=Path(__file__).parents[3],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), LONGEST_WAIT)).decode()
        client.url = line.split()[-1]
        assert (await client.login("ann", "a:b")).json["user_info"]["user_id"] == "u_ann"
        async with client.open_chat("[[silent]]"):
            process.send_signal(number)
            output, errors = await asyncio.wait_for(process.communicate(), LONGEST_WAIT)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert (process.returncode, output, errors) == (0, b"", b"")


def test_the_list_of_scenarios_names_each_with_its_arguments(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--scenarios"]) == 0
    text = capsys.readouterr().out
    assert "[[count n=100 size=0 pace=0.0]]\n" in text
    for name in [*SCENARIOS, *ACCOUNT_SCENARIOS]:
        assert name in text


def test_help_explains_markers(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "[[truncate how=reset after=3]]" in capsys.readouterr().out


def test_a_port_in_use_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--host", "192.0.2.1", "--port", "1"]) == 1
    assert capsys.readouterr().err.startswith("emulator: ")


async def test_the_record_can_be_read_over_http(member: EmulatorClient) -> None:
    await member.chat("[[empty]]")
    calls = (await member.request("GET", "/_emulator/calls")).json
    chats = (await member.request("GET", "/_emulator/calls?path=/codeapi")).json
    assert [call["path"] for call in calls] == ["/codeuser/auth/login", "/codeapi/chat_auth"]
    assert chats == calls[1:]
    assert chats[0]["headers"]["Authorization"] == f"Bearer {member.access}"
    assert (chats[0]["status"], chats[0]["done"], chats[0]["closed_at"]) == (200, True, None)


async def test_accounts_and_clock_can_be_changed_over_http(
    emu: Emulator, member: EmulatorClient
) -> None:
    order = {"username": "demo_user", "scenarios": ["refresh_401"], "revoke_access": True}
    assert (await member.request("POST", "/_emulator/account", json=order)).status == 200
    assert (await member.chat("hi")).status == 401
    assert emu.account("demo_user").scenarios == {"refresh_401"}
    before = emu.clock.now()
    await member.request("POST", "/_emulator/clock", json={"advance": 3600})
    assert 3600 <= emu.clock.now() - before < 3660


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("account", {"username": "nobody"}, 404),
        ("account", {"username": "demo_user", "scenarios": ["refresh_402"]}, 400),
        ("account", [], 400),
        ("clock", {"advance": "soon"}, 400),
        ("clock", {}, 400),
        ("tea", {}, 404),
    ],
)
async def test_control_requests_that_do_not_fit_are_refused(
    client: EmulatorClient, path: str, body: object, status: int
) -> None:
    assert (await client.request("POST", f"/_emulator/{path}", json=body)).status == status


async def test_health_is_answered_and_not_recorded(emu: Emulator, client: EmulatorClient) -> None:
    assert (await client.request("GET", "/_emulator/health")).json["status"] == "ok"
    assert len(emu.calls) == 0
