"""opencode, the real program, before a gateway and the emulator; run by `make clients`."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from emulator import Emulator
from gateway.setup.agents import opencode_settings
from gateway.setup.target import KEY_VARIABLE
from tests.clients.agents.support import (
    CodingAgent,
    LaunchedProgram,
    call,
    platform_program,
    prompts,
)
from tests.support import Gateway


@dataclass(frozen=True)
class OpenCode(CodingAgent):
    """opencode, with the settings that `setup opencode` prints, below its home folder."""

    @property
    def file(self) -> Path:
        """Return the settings file."""
        return self.folder / "home" / ".config" / "opencode" / "opencode.json"

    def settings(self) -> dict[str, Any]:
        """Return what is in the settings file."""
        quiet = {"share": "disabled", "autoupdate": False}
        return {**opencode_settings(self.target), **quiet}

    def environment(self) -> dict[str, str]:
        """Return all variables of a run."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps(self.settings()), "utf-8")
        return {**super().environment(), KEY_VARIABLE: self.key}

    def command(self, prompt: str, options: tuple[str, ...]) -> list[str]:
        """Return the command line of a run."""
        program = platform_program("opencode-*/bin/opencode")
        return [str(program), "run", *options, prompt]


@pytest.fixture
def opencode(gateway: Gateway, tmp_path: Path) -> OpenCode:
    """A client of the gateway."""
    return OpenCode(tmp_path, gateway.url)


async def test_a_plain_answer_is_shown(opencode: OpenCode) -> None:
    done = await opencode.ask("[[say text=The%20sky%20is%20blue.]]")
    assert (done.status, done.output.strip()) == (0, "The sky is blue."), done.text


async def test_a_whole_turn_writes_a_file(opencode: OpenCode) -> None:
    file = opencode.work / "hello.py"
    marker = call("write", filePath=str(file), content='print("hello")\n')
    done = await opencode.ask(f"Write it. {marker}")
    assert done.status == 0, done.text
    assert file.read_text("utf-8") == 'print("hello")\n'
    assert "write says:" in done.output


async def test_a_wrong_key_is_said(opencode: OpenCode) -> None:
    done = await replace(opencode, key="wrong").ask("Hello")
    assert done.status != 0
    assert "Error: \x1b[0mIncorrect API key provided" in done.errors


async def test_an_unknown_model_is_said_with_the_models_there_are(opencode: OpenCode) -> None:
    done = await replace(opencode, model="unknown-9").ask("Hello")
    assert done.status != 0
    assert "The model 'unknown-9' does not exist. Models: fitten-code," in done.errors


async def test_an_error_before_the_first_piece_is_shown(opencode: OpenCode) -> None:
    done = await opencode.ask("[[error_200]]")
    assert done.status != 0
    assert "Fitten reports an error of its own" in done.errors


async def test_an_error_after_the_first_piece_is_shown(opencode: OpenCode) -> None:
    done = await opencode.ask("[[error_middle]]")
    assert done.status != 0
    assert "Fitten reports an error of its own" in done.errors


async def test_an_abort_reaches_the_upstream_within_a_second(
    opencode: OpenCode, emulator: Emulator
) -> None:
    await opencode.interrupt(emulator)


async def test_it_sums_up_a_conversation_that_grows(opencode: OpenCode, emulator: Emulator) -> None:
    """The conversation is longer than what Fitten takes, and the gateway never refuses it."""
    for number in range(3):
        words = f"{number} words words words words words words words\n" * 2200
        done = await opencode.ask(f"[[say text=Read.]] {words}", *(["-c"] if number else []))
        assert done.status == 0, done.text
    done = await opencode.ask("And now? [[say text=Done.]]", "-c")
    assert (done.status, done.output.strip()) == (0, "Done."), done.text
    assert [p for p in prompts(emulator) if "Create a new anchored summary" in p]


async def test_run_starts_it_and_a_turn_writes_a_file(gateway: Gateway, tmp_path: Path) -> None:
    opencode = LaunchedProgram(tmp_path, gateway.url, name="opencode", after=("run",))
    file = opencode.work / "hello.txt"
    marker = call("write", filePath=str(file), content="hello\n")
    done = await opencode.ask(f"Write it. {marker}")
    assert done.status == 0, done.text
    assert file.read_text("utf-8") == "hello\n"
    assert "opencode uses fitten-code at" in done.errors
