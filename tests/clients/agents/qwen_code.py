"""Qwen Code, the real program, before a gateway and the emulator; run by `make clients`."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from emulator import Emulator
from gateway.setup.agents import qwen_settings
from gateway.setup.target import KEY_VARIABLE
from tests.clients.agents.support import (
    MODULES,
    WINDOW,
    CodingAgent,
    LaunchedProgram,
    call,
    node,
    prompts,
)
from tests.support import Gateway


@dataclass(frozen=True)
class QwenCode(CodingAgent):
    """Qwen Code, with the settings that `setup qwen-code` prints, below its home folder."""

    def environment(self) -> dict[str, str]:
        """Return all variables of a run."""
        file = self.folder / "home" / ".qwen" / "settings.json"
        quiet = {
            "privacy": {"usageStatisticsEnabled": False},
            "general": {"enableAutoUpdate": False},
        }
        settings = {**qwen_settings(self.target), **quiet}
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings), "utf-8")
        return {**super().environment(), KEY_VARIABLE: self.key}

    def command(self, prompt: str, options: tuple[str, ...]) -> list[str]:
        """Return the command line of a run."""
        program = MODULES / "@qwen-code" / "qwen-code" / "cli-entry.js"
        return [str(node()), str(program), "--yolo", *options, "-p", prompt]


@pytest.fixture
def qwen(gateway: Gateway, tmp_path: Path) -> QwenCode:
    """A client of the gateway."""
    return QwenCode(tmp_path, gateway.url)


async def test_a_plain_answer_is_shown(qwen: QwenCode) -> None:
    done = await qwen.ask("[[say text=The%20sky%20is%20blue.]]")
    assert (done.status, done.output.strip()) == (0, "The sky is blue."), done.text


async def test_a_whole_turn_writes_a_file(qwen: QwenCode) -> None:
    file = qwen.work / "hello.py"
    marker = call("write_file", file_path=str(file), content='print("hello")\n')
    done = await qwen.ask(f"Write it. {marker}")
    assert done.status == 0, done.text
    assert file.read_text("utf-8") == 'print("hello")\n'
    assert "write_file says:" in done.output


async def test_a_wrong_key_is_said(qwen: QwenCode) -> None:
    done = await replace(qwen, key="wrong").ask("Hello")
    assert done.status != 0, done.text
    assert "Incorrect API key provided" in done.text


async def test_an_unknown_model_is_said_with_the_models_there_are(qwen: QwenCode) -> None:
    done = await replace(qwen, model="unknown-9").ask("Hello")
    assert done.status != 0, done.text
    assert "The model 'unknown-9' does not exist. Models: fitten-code," in done.text


async def test_an_error_before_the_first_piece_is_shown(qwen: QwenCode) -> None:
    done = await qwen.ask("[[error_200]]")
    assert done.status != 0, done.text
    assert "Fitten reports an error of its own" in done.text


async def test_an_answer_that_fails_in_its_middle_is_continued(
    qwen: QwenCode, emulator: Emulator
) -> None:
    _, second = await qwen.repeat("[[error_middle]]", emulator)
    assert "<previous_response_suffix>\nHel\n</previous_response_suffix>" in second


async def test_an_abort_reaches_the_upstream_within_a_second(
    qwen: QwenCode, emulator: Emulator
) -> None:
    await qwen.interrupt(emulator)


@pytest.mark.parametrize(("window", "summaries"), [(WINDOW, 1), (200_000, 0)])
async def test_it_sums_up_by_its_window(
    qwen: QwenCode, emulator: Emulator, window: int, summaries: int
) -> None:
    words = "words words words words words words words\n" * 1250
    client = replace(qwen, window=window)
    for options in ((), ("-c",)):
        done = await client.ask(f"[[say text=Read.]] {words}", *options)
        assert (done.status, done.output.strip()) == (0, "Read."), done.text
    asked = [p for p in prompts(emulator) if "the component that summarizes a conversation" in p]
    assert len(asked) == summaries


async def test_run_starts_it_and_a_turn_writes_a_file(gateway: Gateway, tmp_path: Path) -> None:
    qwen = LaunchedProgram(tmp_path, gateway.url, name="qwen", after=("--yolo", "-p"))
    file = qwen.work / "hello.txt"
    marker = call("write_file", file_path=str(file), content="hello\n")
    done = await qwen.ask(f"Write it. {marker}")
    assert done.status == 0, done.text
    assert file.read_text("utf-8") == "hello\n"
    assert "qwen uses fitten-code at" in done.errors
