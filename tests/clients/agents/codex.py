"""Codex, the real program, before a gateway and the emulator; run by `make clients`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from emulator import Emulator
from tests.clients.agents.support import Codex, LaunchedProgram, call, calls, prompts
from tests.conftest import StartGateway
from tests.support import Gateway

MCP_SERVER = Path(__file__).with_name("mcp_server.py")
PATCH = """\
*** Begin Patch
*** Update File: hello.py
@@
-print("hello")
+print("good morning")
*** End Patch
"""


@pytest.fixture
def codex(gateway: Gateway, tmp_path: Path) -> Codex:
    """A client of the gateway."""
    return Codex(tmp_path, gateway.url)


async def test_a_plain_answer_is_shown(codex: Codex, emulator: Emulator) -> None:
    done = await codex.ask("[[say text=The%20sky%20is%20blue.]]")
    assert (done.status, done.output.strip()) == (0, "The sky is blue."), done.text
    assert len(prompts(emulator)) == 1


@pytest.mark.parametrize("notation", ["hybrid", "json"])
async def test_a_whole_turn_writes_a_file(
    start_gateway: StartGateway, tmp_path: Path, notation: str
) -> None:
    gateway = await start_gateway(tools={"notation": {"*": notation}})
    codex = Codex(tmp_path, gateway.url)
    command = "cat > hello.py <<'END'\nprint(\"hello\")\nEND"
    done = await codex.ask(f"Write it. {call('exec_command', cmd=command)}")
    assert done.status == 0, done.text
    assert (codex.work / "hello.py").read_text("utf-8") == 'print("hello")\n'
    assert "exec_command says:" in done.output


async def test_two_parallel_calls_are_both_run(codex: Codex) -> None:
    marker = calls(
        ("exec_command", {"cmd": "echo 1 > one.txt"}), ("exec_command", {"cmd": "echo 2 > two.txt"})
    )
    done = await codex.ask(f"Write both. {marker}")
    files = [codex.work / name for name in ("one.txt", "two.txt")]
    assert [file.read_text() for file in files] == ["1\n", "2\n"], done.text
    assert done.output.count("exec_command says:") == 2


@pytest.mark.parametrize("model", ["fitten-code", "gpt-5.5"])
async def test_apply_patch_changes_a_file(codex: Codex, model: str) -> None:
    """It is a shell command for an unknown model, and a custom tool for a known one."""
    codex.work.mkdir()
    (codex.work / "hello.py").write_text('print("hello")\n')
    if model == "fitten-code":
        marker = call("exec_command", cmd=f"apply_patch <<'EOF'\n{PATCH}EOF")
    else:
        marker = call("apply_patch", input=PATCH)
    done = await replace(codex, model=model).ask(f"Change it. {marker}")
    assert done.status == 0, done.text
    assert (codex.work / "hello.py").read_text() == 'print("good morning")\n', done.text


async def test_a_tool_of_an_mcp_server_is_called(codex: Codex) -> None:
    server = f'[mcp_servers.tiny]\ncommand = "{sys.executable}"\nargs = ["{MCP_SERVER}"]\n'
    done = await replace(codex, more=server).ask(f"Add. {call('add', a=40, b=2)}")
    assert done.status == 0, done.text
    assert "add says: " in done.output
    assert "The sum is 42." in done.output


async def test_it_sums_up_a_conversation_that_grows(codex: Codex, emulator: Emulator) -> None:
    small = replace(codex, window=16_700)  # it sums up at nine tenths of that
    await small.ask("Begin. [[say text=Begun.]]")
    (codex.work / "long.txt").write_text("word " * 8000)
    marker = call("exec_command", cmd="cat long.txt", max_output_tokens=10_000)
    await small.ask(f"Read on. {marker}", "resume", "--last")
    done = await small.ask("And now? [[say text=Done.]]", "resume", "--last")
    assert done.status == 0, done.text
    assert [p for p in prompts(emulator) if "CONTEXT CHECKPOINT COMPACTION" in p]


async def test_a_wrong_key_is_said(codex: Codex) -> None:
    done = await replace(codex, key="wrong").ask("Hello")
    assert done.status != 0
    assert "401" in done.text


async def test_an_unknown_model_is_said_with_the_models_there_are(codex: Codex) -> None:
    done = await replace(codex, model="unknown-9").ask("Hello")
    assert done.status != 0
    assert "The model 'unknown-9' does not exist. Models: fitten-code," in done.text


async def test_an_error_before_the_first_piece_is_shown(codex: Codex) -> None:
    done = await codex.ask("[[error_200]]")
    assert done.status != 0
    assert "Fitten" in done.errors


async def test_an_error_after_the_first_piece_is_shown(codex: Codex) -> None:
    done = await codex.ask("[[error_middle]]")
    assert done.status != 0
    assert "stream disconnected before completion: " in done.errors
    assert "stream closed before response.completed" not in done.errors


async def test_an_abort_reaches_the_upstream_within_a_second(
    codex: Codex, emulator: Emulator
) -> None:
    await codex.interrupt(emulator)


@pytest.mark.parametrize("before", [(), ("--lean",)])
async def test_run_starts_it_and_a_turn_writes_a_file(
    gateway: Gateway, tmp_path: Path, before: tuple[str, ...]
) -> None:
    unattended = ('-capproval_policy="never"', '-csandbox_mode="danger-full-access"')
    after = ("exec", "--skip-git-repo-check", *unattended)
    codex = LaunchedProgram(tmp_path, gateway.url, name="codex", before=before, after=after)
    done = await codex.ask(f"Write it. {call('exec_command', cmd='echo hello > hello.txt')}")
    assert done.status == 0, done.text
    assert (codex.work / "hello.txt").read_text("utf-8") == "hello\n"
    assert "codex uses fitten-code at" in done.errors


async def test_it_reads_the_catalog_of_models(
    codex: Codex, gateway: Gateway, emulator: Emulator
) -> None:
    plain = await codex.ask("[[say text=Hello.]]")
    assert "metadata" in plain.errors
    async with gateway.http.get(f"{gateway.url}/v1/models?client_version=0.171.0") as response:
        catalog = codex.folder / "catalog.json"
        catalog.write_bytes(await response.read())
    marker = call("exec_command", cmd="echo hello > hello.txt")
    done = await codex.ask(f"Write it. {marker}", "-c", f"model_catalog_json='{catalog}'")
    assert done.status == 0, done.text
    assert "metadata" not in done.errors
    assert (codex.work / "hello.txt").read_text() == "hello\n"
    assert "You are Codex, a coding agent in a terminal." in prompts(emulator)[-1]
