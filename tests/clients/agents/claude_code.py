"""Claude Code, the real program, before a gateway and the emulator; run by `make clients`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from emulator import Emulator
from gateway.setup.agents import LEAN_DENIED, LEAN_SAVED, claude_settings
from tests.clients.agents.support import ClaudeCode, LaunchedProgram, call, calls, prompts
from tests.conftest import StartGateway
from tests.support import Gateway

EDITING = ("--allowedTools", "Read,Write,Bash,Agent,Task")


@pytest.fixture
def claude(gateway: Gateway, tmp_path: Path) -> ClaudeCode:
    """A client of the gateway."""
    return ClaudeCode(tmp_path, gateway.url)


async def test_a_plain_answer_is_shown(claude: ClaudeCode, emulator: Emulator) -> None:
    done = await claude.ask("[[say text=The%20sky%20is%20blue.]]")
    assert (done.status, done.output.strip()) == (0, "The sky is blue."), done.text
    assert len(prompts(emulator)) == 1
    assert "x-anthropic-billing-header" not in prompts(emulator)[0]


@pytest.mark.parametrize("notation", ["hybrid", "json"])
async def test_a_whole_turn_writes_a_file(
    start_gateway: StartGateway, tmp_path: Path, notation: str
) -> None:
    gateway = await start_gateway(tools={"notation": {"*": notation}})
    claude = ClaudeCode(tmp_path, gateway.url)
    file, text = claude.work / "hello.py", 'print("hello")\n\n# "quoted" \\n </arg>\n'
    done = await claude.ask(
        f"Write it. {call('Write', file_path=str(file), content=text)}", *EDITING
    )
    assert done.status == 0, done.text
    assert file.read_text("utf-8") == text
    assert "Write says:" in done.output


async def test_two_parallel_calls_are_both_run(claude: ClaudeCode, emulator: Emulator) -> None:
    one, two = claude.work / "one.txt", claude.work / "two.txt"
    marker = calls(
        ("Write", {"file_path": str(one), "content": "1\n"}),
        ("Write", {"file_path": str(two), "content": "2\n"}),
    )
    done = await claude.ask(f"Write both. {marker}", *EDITING)
    assert (one.read_text(), two.read_text()) == ("1\n", "2\n"), done.text
    assert done.output.count("Write says:") == 2


async def test_a_sub_agent_answers(claude: ClaudeCode, emulator: Emulator) -> None:
    marker = call(
        "Agent",
        description="Say it",
        prompt="[[say text=From%20the%20sub-agent.]]",
        subagent_type="general-purpose",
    )
    done = await claude.ask(f"Ask an agent. {marker}", *EDITING)
    assert done.status == 0, done.text
    assert "From the sub-agent." in done.output
    assert len(prompts(emulator)) == 3


async def test_a_wrong_key_is_said_at_once(claude: ClaudeCode) -> None:
    done = await replace(claude, key="wrong").ask("Hello")
    assert done.status != 0
    assert "401" in done.text


async def test_an_unknown_model_is_said_with_the_models_there_are(claude: ClaudeCode) -> None:
    done = await replace(claude, model="unknown-9").ask("Hello")
    assert done.status != 0
    assert "model" in done.text


async def test_a_model_of_claudes_own_names_is_served(claude: ClaudeCode) -> None:
    done = await replace(claude, model="claude-sonnet-5").ask("[[say text=Served.]]")
    assert (done.status, done.output.strip()) == (0, "Served."), done.text


async def test_an_error_before_the_first_piece_is_shown(claude: ClaudeCode) -> None:
    done = await claude.ask("[[error_200]]")
    assert done.status != 0
    assert "API Error" in done.text


async def test_an_answer_that_fails_in_its_middle_is_asked_for_whole(
    claude: ClaudeCode, emulator: Emulator
) -> None:
    done = await claude.ask("[[error_middle]]")
    assert "API Error" in done.text
    assert len(prompts(emulator)) >= 2


async def test_an_abort_reaches_the_upstream_within_a_second(
    claude: ClaudeCode, emulator: Emulator
) -> None:
    await claude.interrupt(emulator)


async def test_it_sums_up_a_conversation_that_grows(
    start_gateway: StartGateway, emulator: Emulator, tmp_path: Path
) -> None:
    gateway = await start_gateway()
    claude = ClaudeCode(tmp_path, gateway.url)
    await claude.ask("Begin. [[say text=Begun.]]")
    for number in range(4):
        file = claude.work / f"long{number}.txt"
        # Else the emulator would repeat the whole file.
        file.write_text(
            "[[say text=Read.]]\n" + f"{number} words words words words words words words\n" * 800
        )
        await claude.ask(f"Read on. {call('Read', file_path=str(file))}", "--continue", *EDITING)
    done = await claude.ask("And now? [[say text=Done.]]", "--continue")
    assert done.status == 0, done.text
    assert [p for p in prompts(emulator) if "Your task is to create a detailed summary" in p]


async def test_run_starts_it_and_a_turn_writes_a_file(gateway: Gateway, tmp_path: Path) -> None:
    claude = LaunchedProgram(tmp_path, gateway.url, before=("--lean",))
    file = claude.work / "hello.txt"
    marker = call("Write", file_path=str(file), content="hello\n")
    done = await claude.ask(f"Write it. {marker}", "--allowedTools=Write")
    assert done.status == 0, done.text
    assert file.read_text("utf-8") == "hello\n"
    assert "claude uses fitten-code at" in done.errors


async def first_request(claude: ClaudeCode, *, lean: bool) -> dict[str, Any]:
    """The body of the first request, which is refused for good."""
    bodies: list[dict[str, Any]] = []

    async def refuse(request: web.Request) -> web.Response:
        if request.method == "POST":
            bodies.append(await request.json())
        return web.json_response({"error": {"message": "No.", "type": "invalid"}}, status=400)

    server = TestServer(web.Application())
    server.app.router.add_route("*", "/{path:.*}", refuse)
    async with server:
        there = replace(claude, url=str(server.make_url("")).rstrip("/"))
        settings = json.dumps(claude_settings(replace(there.target, lean=lean)))
        await there.ask("Hello", "--settings", settings)
    return bodies[0]


async def test_lean_saves_the_characters_that_the_page_names(claude: ClaudeCode) -> None:
    usual = await first_request(claude, lean=False)
    lean = await first_request(claude, lean=True)
    names = {tool["name"] for tool in usual["tools"]}
    assert names - {tool["name"] for tool in lean["tools"]} == set(LEAN_DENIED)
    saved = len(json.dumps(usual["tools"])) - len(json.dumps(lean["tools"]))
    assert abs(saved - LEAN_SAVED) < LEAN_SAVED / 20
