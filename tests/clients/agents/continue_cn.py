"""Continue's `cn`, the real program, before a gateway and the emulator; run by `make clients`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from emulator import Emulator
from gateway.setup.clients import CLIENTS as KNOWN
from tests.clients.agents.support import MODULES, WINDOW, CodingAgent, call, node, prompts
from tests.support import Gateway
from tests.waiting import eventually


@dataclass(frozen=True)
class ContinueCn(CodingAgent):
    """Continue's `cn`, with a settings file below its home folder."""

    window: int = WINDOW

    def environment(self) -> dict[str, str]:
        """Return all variables of a run."""
        file = self.folder / "home" / ".continue" / "config.yaml"
        (config,) = KNOWN["continue"].snippets(self.target)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(config.text, "utf-8")
        return {**super().environment(), "FITTEN_GATEWAY_KEY": self.key}

    def command(self, prompt: str, options: tuple[str, ...]) -> list[str]:
        """Return the command line of a run."""
        program = MODULES / "@continuedev" / "cli" / "dist" / "cn.js"
        return [str(node()), str(program), "--auto", *options, "-p", prompt]


@pytest.fixture
def cn(gateway: Gateway, tmp_path: Path) -> ContinueCn:
    """A client of the gateway."""
    return ContinueCn(tmp_path, gateway.url)


async def test_a_plain_answer_is_shown(cn: ContinueCn) -> None:
    done = await cn.ask("[[say text=The%20sky%20is%20blue.]]")
    assert (done.status, done.output.strip()) == (0, "The sky is blue."), done.text


async def test_a_whole_turn_writes_a_file(cn: ContinueCn) -> None:
    file = cn.work / "hello.py"
    marker = call("Write", filepath=str(file), content='print("hello")\n')
    done = await cn.ask(f"Write it. {marker}")
    assert done.status == 0, done.text
    assert file.read_text("utf-8") == 'print("hello")\n'
    assert "Write says:" in done.output


async def test_a_wrong_key_is_said(cn: ContinueCn) -> None:
    done = await replace(cn, key="wrong").ask("Hello")
    assert done.status != 0, done.text
    assert "Incorrect API key provided" in done.text


async def test_an_unknown_model_is_said_with_the_models_there_are(cn: ContinueCn) -> None:
    done = await replace(cn, model="unknown-9").ask("Hello")
    assert done.status != 0, done.text
    assert "The model 'unknown-9' does not exist. Models: fitten-code," in done.text


@pytest.mark.parametrize("failure", ["error_200", "error_middle"])
async def test_an_answer_that_fails_is_asked_for_again(
    cn: ContinueCn, emulator: Emulator, failure: str
) -> None:
    """It says the gateway's message only after about 30 requests in two minutes."""
    first, second = await cn.repeat(f"[[{failure}]]", emulator)
    assert first == second


async def test_an_abort_reaches_the_upstream_within_a_second(
    cn: ContinueCn, emulator: Emulator
) -> None:
    await cn.interrupt(emulator)


LONG = "[[say text=Read.]] " + "words words words words words words words\n" * 1250


def summaries(emulator: Emulator) -> list[str]:
    """The prompts that ask for a summary."""
    return [p for p in prompts(emulator) if "concise summary of our conversation" in p]


async def test_it_asks_for_a_summary_when_its_window_is_full(
    cn: ContinueCn, emulator: Emulator
) -> None:
    """The run is ended there: the summary comes with tools, and the emulator would call one."""
    small = replace(cn, window=33_000)
    await small.ask(LONG)
    assert not summaries(emulator)
    async with small.running(LONG, "--resume"):
        await eventually(lambda: summaries(emulator))


async def test_it_asks_for_none_in_a_window_that_is_large_enough(
    cn: ContinueCn, emulator: Emulator
) -> None:
    for options in ((), ("--resume",)):
        done = await cn.ask(LONG, *options)
        assert (done.status, done.output.strip()) == (0, "Read."), done.text
    assert not summaries(emulator)
