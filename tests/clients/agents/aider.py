"""Aider, the real program, before a gateway and the emulator; run by `make clients`."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import pytest

from emulator import Emulator
from tests.clients.agents.support import WINDOW, Finished, PythonProgram, prompts
from tests.support import Gateway

EDITS = {
    "whole": "hello.py\n```\nprint('good morning')\n```\n",
    "diff": (
        "hello.py\n```python\n<<<<<<< SEARCH\nprint('hello')\n=======\n"
        "print('good morning')\n>>>>>>> REPLACE\n```\n"
    ),
}


@dataclass(frozen=True)
class Aider(PythonProgram):
    """Aider, with the settings of docs/clients.md."""

    name = "aider"
    window: int = WINDOW

    def environment(self) -> dict[str, str]:
        """Return all variables of a run."""
        sizes = {f"openai/{self.model}": {"max_input_tokens": self.window}}
        file = self.folder / "home" / ".aider.model.metadata.json"
        file.write_text(json.dumps(sizes), "utf-8")
        return {
            **super().environment(),
            "OPENAI_API_BASE": f"{self.url}/v1",
            "OPENAI_API_KEY": self.key,
        }

    def command(self, prompt: str, options: tuple[str, ...]) -> list[str]:
        """Return the command line of a run."""
        quiet = (
            *("--yes-always", "--no-git", "--no-check-update", "--analytics-disable"),
            *("--no-show-model-warnings", "--no-pretty", "--no-show-release-notes"),
        )
        model = f"openai/{self.model}"
        return [self.program, "--model", model, *quiet, *options, "--message", prompt]


@pytest.fixture
def aider(gateway: Gateway, tmp_path: Path) -> Aider:
    """A client of the gateway."""
    return Aider(tmp_path, gateway.url)


def said(done: Finished) -> str:
    """Return what a run wrote, in one line: Aider breaks lines."""
    return " ".join(done.text.split())


@pytest.mark.parametrize("options", [(), ("--no-stream",)], ids=["stream", "whole"])
async def test_a_plain_answer_is_shown(aider: Aider, options: tuple[str, ...]) -> None:
    done = await aider.ask("[[say text=The%20sky%20is%20blue.]]", *options)
    assert done.status == 0, done.text
    assert "The sky is blue." in done.output


@pytest.mark.parametrize("form", EDITS)
async def test_a_whole_turn_changes_a_file(aider: Aider, form: str) -> None:
    aider.work.mkdir()
    file = aider.work / "hello.py"
    file.write_text("print('hello')\n")
    answer = quote(EDITS[form], safe="")
    done = await aider.ask(f"[[say text={answer}]]", "--edit-format", form, "hello.py")
    assert done.status == 0, done.text
    assert file.read_text() == "print('good morning')\n", done.text


async def test_its_window_is_that_of_its_file(aider: Aider, emulator: Emulator) -> None:
    aider.work.mkdir()
    (aider.work / "long.txt").write_text("word " * 8000)
    asked = ("[[say text=Read.]]", "--read", "long.txt")
    done = await aider.ask(*asked)
    assert "token limit" not in said(done), done.text
    assert len(prompts(emulator)) == 1
    done = await replace(aider, window=4000).ask(*asked)
    assert "exceeds the 4,000 token limit for openai/fitten-code!" in said(done)


async def test_a_wrong_key_is_said(aider: Aider) -> None:
    done = await replace(aider, key="wrong").ask("Hello")
    assert "Incorrect API key provided" in said(done)


async def test_an_unknown_model_is_said_with_the_models_there_are(aider: Aider) -> None:
    done = await replace(aider, model="unknown-9").ask("Hello")
    assert "The model 'unknown-9' does not exist. Models: fitten-code," in said(done)


@pytest.mark.parametrize("marker", ["[[error_200]]", "[[error_middle]]"])
async def test_an_error_before_or_after_the_first_piece_is_shown(aider: Aider, marker: str) -> None:
    done = await aider.ask(marker)
    assert "Fitten reports an error of its own" in said(done)


async def test_an_abort_reaches_the_upstream_within_a_second(
    aider: Aider, emulator: Emulator
) -> None:
    await aider.interrupt(emulator)
