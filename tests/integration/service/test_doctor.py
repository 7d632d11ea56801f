"""`doctor --tools` before an emulator that answers as a model that is good, or bad, at tools."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml

from benchmarks.tools.emulated import obeyed
from emulator import Emulator
from emulator.scenarios.call_notations import written
from emulator.scenarios.tool_use import MadeCall
from gateway.config.loading import load_config
from gateway.config.settings import Config
from gateway.doctor.command import DoctorOptions, check_tools
from gateway.doctor.tool_cases import CASES, ToolCase

JSON = DoctorOptions(as_json=True, confirmed=True)


@pytest.fixture(autouse=True)
def _log() -> Iterator[None]:
    """Undo the logging that the command sets up."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def config(emulator: Emulator, tmp_path: Path) -> Config:
    fitten = {
        "base_url": emulator.url,
        "models_url": emulator.url,
        "accounts": [{"username": "demo_user", "password": "correct horse"}],
        "state_file": str(tmp_path / "fitten.json"),
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"server": {"port": 0}, "fitten": fitten, "middlewares": []}))
    return load_config(path, {})


async def run(config: Config, cases: tuple[ToolCase, ...]) -> int:
    """Run the command in a thread, since it has an event loop of its own."""
    return await asyncio.to_thread(check_tools, config, JSON, cases)


def marked(case: ToolCase, marker: str) -> ToolCase:
    """Return the case with a marker that selects a scenario of the emulator."""
    *before, last = case.messages
    return replace(case, messages=(*before, replace(last, text=f"{last.text}\n{marker}")))


GOOD = ("exact", "answered")


async def test_a_model_that_does_as_it_is_told_makes_every_call(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run(config, tuple(map(obeyed, CASES))) == 0
    data: Any = json.loads(capsys.readouterr().out)
    for found in data["notations"]:
        missed = {run["case"] for run in found["runs"] if run["verdict"] not in GOOD}
        # The notation `json` changes its own tags in texts. Both may change role markers.
        changed = {"closing tags"} if found["label"] == "json" else set()
        assert missed - {"chat template"} == changed
        assert found["valid"] == found["call_turns"]
        assert (found["false_calls"], found["failures"], found["repairs"]) == (0, 0, 0)
    assert data["winner"] in ("hybrid", "json")


async def test_a_model_that_never_calls_is_not_given_a_notation(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = tuple(marked(case, "[[ignore_tools]]") for case in CASES if case.calls)
    assert await run(config, cases) == 1
    data = json.loads(capsys.readouterr().out)
    assert (data["winner"], data["config"]) == (None, None)
    verdicts = {run["verdict"] for found in data["notations"] for run in found["runs"]}
    assert verdicts == {"no valid call"}


async def test_a_call_that_nobody_asked_for_is_counted(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = tuple(case for case in CASES if case.name in ("one call", "no tool needed"))
    marker = "[[call tool=get_weather arguments=%7B%22city%22:%22Hamburg%22%7D]]"
    assert await run(config, tuple(marked(case, marker) for case in cases)) == 0
    for found in json.loads(capsys.readouterr().out)["notations"]:
        assert (found["exact"], found["false_calls"], found["answered"]) == (3, 1, 0)


@pytest.mark.parametrize("chat_client", ["lean", "aiohttp"])
async def test_the_characters_are_those_of_the_prompt_and_of_what_the_model_wrote(
    config: Config, emulator: Emulator, capsys: pytest.CaptureFixture[str], chat_client: Any
) -> None:
    config = replace(config, fitten=replace(config.fitten, chat_client=chat_client))
    marker = "[[call tool=get_weather arguments=%7B%22city%22:%22Hamburg%22%7D]]"
    assert await run(config, (marked(replace(CASES[0], runs=1), marker),)) == 0
    made = [MadeCall("get_weather", {"city": "Hamburg"})]
    answers = {"json": written(made, "tool_call"), "hybrid": written(made, "hybrid", value="ABCD")}
    prompts = [len(call.body["inputs"]) for call in emulator.calls_to("/codeapi/chat_auth")]
    found = json.loads(capsys.readouterr().out)["notations"]
    assert [notation["characters_in"] for notation in found] == prompts
    assert {notation["label"]: notation["characters_out"] for notation in found} == {
        name: len(answer) for name, answer in answers.items()
    }


async def test_the_emulator_copies_a_text_as_it_stands_in_the_prompt(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    case = obeyed(next(case for case in CASES if case.name == "code"))
    (message,) = case.messages
    changed = replace(message, text=message.text.replace('"done"', '"dome"'))
    assert changed != message
    assert await run(config, (replace(case, messages=(changed,)),)) == 0
    for found in json.loads(capsys.readouterr().out)["notations"]:
        assert (found["valid"], found["exact"]) == (3, 0)
