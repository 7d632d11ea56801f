"""Kilo Code, the real program, before a gateway and the emulator; run by `make clients`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from emulator import Emulator
from tests.clients.agents.opencode import OpenCode
from tests.clients.agents.support import call, platform_program, prompts
from tests.support import Gateway


@dataclass(frozen=True)
class KiloCode(OpenCode):
    """Kilo Code, which is made from opencode and has the same settings."""

    @property
    def file(self) -> Path:
        """Return the settings file."""
        return self.folder / "home" / ".config" / "kilo" / "kilo.json"

    def settings(self) -> dict[str, Any]:
        """Return what is in the settings file."""
        return {**super().settings(), "indexing": {"enabled": False}}

    def command(self, prompt: str, options: tuple[str, ...]) -> list[str]:
        """Return the command line of a run."""
        program = platform_program("@kilocode/cli-*/bin/kilo")
        return [str(program), "run", "--auto", *options, prompt]


@pytest.fixture
def kilo(gateway: Gateway, tmp_path: Path) -> KiloCode:
    """A client of the gateway."""
    return KiloCode(tmp_path, gateway.url)


async def test_a_plain_answer_is_shown(kilo: KiloCode) -> None:
    done = await kilo.ask("[[say text=The%20sky%20is%20blue.]]")
    assert (done.status, done.output.strip()) == (0, "The sky is blue."), done.text


async def test_a_whole_turn_writes_a_file(kilo: KiloCode) -> None:
    file = kilo.work / "hello.py"
    marker = call("write", filePath=str(file), content='print("hello")\n')
    done = await kilo.ask(f"Write it. {marker}")
    assert done.status == 0, done.text
    assert file.read_text("utf-8") == 'print("hello")\n'
    assert "write says:" in done.output


async def test_a_wrong_key_is_said(kilo: KiloCode) -> None:
    done = await replace(kilo, key="wrong").ask("Hello")
    assert done.status != 0
    assert "Error: \x1b[0mIncorrect API key provided" in done.errors


async def test_an_unknown_model_is_said_with_the_models_there_are(kilo: KiloCode) -> None:
    done = await replace(kilo, model="unknown-9").ask("Hello")
    assert done.status != 0
    assert "The model 'unknown-9' does not exist. Models: fitten-code," in done.errors


async def test_an_error_before_the_first_piece_is_shown(kilo: KiloCode) -> None:
    done = await kilo.ask("[[error_200]]")
    assert done.status != 0
    assert "Fitten reports an error of its own" in done.errors


async def test_an_error_after_the_first_piece_is_shown(kilo: KiloCode) -> None:
    done = await kilo.ask("[[error_middle]]")
    assert done.status != 0
    assert "Fitten reports an error of its own" in done.errors


async def test_an_abort_reaches_the_upstream_within_a_second(
    kilo: KiloCode, emulator: Emulator
) -> None:
    await kilo.interrupt(emulator)


async def test_it_sums_up_a_conversation_that_grows(kilo: KiloCode, emulator: Emulator) -> None:
    """The conversation is longer than what Fitten takes, and the gateway never refuses it."""
    for number in range(3):
        words = f"{number} words words words words words words words\n" * 2200
        done = await kilo.ask(f"[[say text=Read.]] {words}", *(["-c"] if number else []))
        assert done.status == 0, done.text
    done = await kilo.ask("And now? [[say text=Done.]]", "-c")
    assert (done.status, done.output.strip()) == (0, "Done."), done.text
    assert [p for p in prompts(emulator) if "Create a new anchored summary" in p]
