"""Cline's command line, the real program, before a gateway and the emulator.

`make clients` runs it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from emulator import Emulator
from tests.clients.agents.support import WINDOW, CodingAgent, call, platform_program, prompts
from tests.support import Gateway


@dataclass(frozen=True)
class Cline(CodingAgent):
    """Cline, with the settings file that `cline auth` writes, and the window."""

    window: int = WINDOW

    def environment(self) -> dict[str, str]:
        """Return all variables of a run."""
        file = self.folder / "home" / ".cline" / "data" / "settings" / "providers.json"
        settings = {
            "provider": "openai-compatible",
            "apiKey": self.key,
            "model": self.model,
            "baseUrl": f"{self.url}/v1",
            "contextWindow": self.window,
            "maxTokens": 8192,
        }
        provider = {
            "settings": settings,
            "updatedAt": "2026-11-28T00:00:00.000Z",
            "tokenSource": "manual",
        }
        content = {
            "version": 1,
            "lastUsedProvider": "openai-compatible",
            "modes": {},
            "providers": {"openai-compatible": provider},
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content), "utf-8")
        # Else it leaves a process running, its hub.
        return {**super().environment(), "CLINE_SESSION_BACKEND_MODE": "local"}

    def command(self, prompt: str, options: tuple[str, ...]) -> list[str]:
        """Return the command line of a run."""
        # A prompt without a space would be the name of a command.
        return [str(platform_program("@cline/cli-*/bin/cline")), *options, f"Please: {prompt}"]


@pytest.fixture
def cline(gateway: Gateway, tmp_path: Path) -> Cline:
    """A client of the gateway."""
    return Cline(tmp_path, gateway.url)


async def test_a_plain_answer_is_shown(cline: Cline, emulator: Emulator) -> None:
    done = await cline.ask("[[say text=The%20sky%20is%20blue.]]")
    assert (done.status, done.output.strip()) == (0, "The sky is blue."), done.text
    assert len(prompts(emulator)) == 1


async def test_a_whole_turn_writes_a_file(cline: Cline) -> None:
    file = cline.work / "hello.py"
    marker = call("editor", path=str(file), new_text='print("hello")\n')
    done = await cline.ask(f"Write it. {marker}")
    assert done.status == 0, done.text
    assert file.read_text("utf-8") == 'print("hello")\n', done.text
    assert "editor says:" in done.output


async def test_a_wrong_key_is_said(cline: Cline) -> None:
    done = await replace(cline, key="wrong").ask("Hello")
    assert done.status != 0, done.text
    assert "Incorrect API key provided" in done.text


async def test_an_unknown_model_is_said_with_the_models_there_are(cline: Cline) -> None:
    done = await replace(cline, model="unknown-9").ask("Hello")
    assert done.status != 0, done.text
    assert "The model 'unknown-9' does not exist. Models: fitten-code," in done.text


async def test_an_error_before_the_first_piece_is_shown(cline: Cline) -> None:
    done = await cline.ask("[[error_200]]")
    assert done.status != 0, done.text
    assert "Fitten reports an error of its own" in done.text


async def test_an_error_after_the_first_piece_is_shown(cline: Cline) -> None:
    done = await cline.ask("[[error_middle]]")
    assert done.status != 0, done.text
    assert "Fitten reports an error of its own" in done.text


async def test_an_abort_reaches_the_upstream_within_a_second(
    cline: Cline, emulator: Emulator
) -> None:
    await cline.interrupt(emulator)


@pytest.mark.parametrize(("window", "sums_up"), [(20_000, True), (WINDOW, False)])
async def test_it_sums_up_by_its_window(
    cline: Cline, emulator: Emulator, window: int, sums_up: bool
) -> None:
    """It reads file after file; each has the call for the next one."""
    cline.work.mkdir()
    files = [cline.work / f"long{number}.txt" for number in range(6)]
    made = [call("read_files", files=[{"path": str(file)}]) for file in files]
    for file, marker in zip(files, [*made[1:], "[[say text=Done.]]"], strict=True):
        file.write_text(marker + "\n" + "words words words words words words words\n" * 1000)
    done = await replace(cline, window=window).ask(f"Read on. {made[0]}")
    assert done.status == 0, done.text
    assert "Done." in done.output
    summaries = [p for p in prompts(emulator) if "Summarize the provided coding session" in p]
    assert bool(summaries) is sums_up
