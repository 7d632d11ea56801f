"""llm, the real program, before a gateway and the emulator; run by `make clients`."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from emulator import Emulator
from gateway.setup.clients import CLIENTS
from tests.clients.agents.support import PythonProgram, call, prompts
from tests.support import Gateway


@dataclass(frozen=True)
class Llm(PythonProgram):
    """llm, with the file that `setup llm` prints and its key, in its folder of settings."""

    name = "llm"

    @property
    def settings(self) -> Path:
        """Return the folder of settings, which `LLM_USER_PATH` names."""
        return self.folder / "llm"

    def environment(self) -> dict[str, str]:
        """Return all variables of a run."""
        self.settings.mkdir(exist_ok=True)
        models, _ = CLIENTS["llm"].snippets(self.target)
        (self.settings / "extra-openai-models.yaml").write_text(models.text, "utf-8")
        (self.settings / "keys.json").write_text(json.dumps({"fitten": self.key}), "utf-8")
        return {**super().environment(), "LLM_USER_PATH": str(self.settings)}

    def command(self, prompt: str, options: tuple[str, ...]) -> list[str]:
        """Return the command line of a run."""
        return [self.program, "-m", "fitten", *options, prompt]


@pytest.fixture
def llm(gateway: Gateway, tmp_path: Path) -> Llm:
    """A client of the gateway."""
    return Llm(tmp_path, gateway.url)


@pytest.mark.parametrize("options", [(), ("--no-stream",)], ids=["stream", "whole"])
async def test_a_plain_answer_is_shown(llm: Llm, options: tuple[str, ...]) -> None:
    done = await llm.ask("[[say text=The%20sky%20is%20blue.]]", *options)
    assert (done.status, done.output.strip()) == (0, "The sky is blue."), done.text


async def test_a_stream_is_shown_piece_by_piece(llm: Llm, emulator: Emulator) -> None:
    async with llm.running("[[slow first=0 gap=3600 n=2]]") as process:
        assert process.stdout is not None
        assert await process.stdout.read(1)
        emulator.release()
        await process.communicate()
    assert process.returncode == 0


async def test_a_conversation_is_continued(llm: Llm, emulator: Emulator) -> None:
    await llm.ask("Begin. [[say text=Begun.]]")
    done = await llm.ask("And now? [[say text=Done.]]", "-c")
    assert (done.status, done.output.strip()) == (0, "Done."), done.text
    assert "Begun." in prompts(emulator)[-1]


async def test_a_turn_with_a_tool_writes_a_file(llm: Llm) -> None:
    code = (
        "def save(text: str) -> str:\n    open('saved.txt', 'w').write(text)\n    return 'saved'\n"
    )
    done = await llm.ask(f"Save it. {call('save', text='kept')}", "--functions", code)
    assert done.status == 0, done.text
    assert (llm.work / "saved.txt").read_text("utf-8") == "kept"
    assert "save says:" in done.output


async def test_a_wrong_key_is_said(llm: Llm) -> None:
    done = await replace(llm, key="wrong").ask("Hello")
    assert done.status != 0
    assert "Incorrect API key provided" in done.errors


async def test_an_unknown_model_is_said_with_the_models_there_are(llm: Llm) -> None:
    done = await replace(llm, model="unknown-9").ask("Hello")
    assert done.status != 0
    assert "The model 'unknown-9' does not exist. Models: fitten-code," in done.errors


@pytest.mark.parametrize("marker", ["[[error_200]]", "[[error_middle]]"])
async def test_an_error_before_or_after_the_first_piece_is_shown(llm: Llm, marker: str) -> None:
    done = await llm.ask(marker)
    assert done.status != 0
    assert "Fitten reports an error of its own" in done.errors


async def test_an_abort_reaches_the_upstream_within_a_second(llm: Llm, emulator: Emulator) -> None:
    await llm.interrupt(emulator)
