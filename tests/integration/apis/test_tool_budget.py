"""Tools whose descriptions are too long: they are shortened, and every place says so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gateway.generation.outcome import OfferedTools, Outcome
from tests.integration.scripted_fitten import ScriptedFitten, running_fitten
from tests.support import Gateway, running_gateway

TOOLS = [
    {"type": "function", "function": {"name": f"t{n}", "description": f"{n}. " + "word " * 400}}
    for n in range(3)
]


async def header(gateway: Gateway, fitten: ScriptedFitten, *said: Any, **body: Any) -> str | None:
    fitten.answers += said or (["Hi."],)
    body = {"messages": [{"role": "user", "content": "hi"}], "tools": TOOLS, **body}
    async with gateway.http.post(f"{gateway.url}/v1/chat/completions", json=body) as response:
        await response.read()
        return response.headers.get("x-fitten-tools")


def tools_in(prompt: str) -> str:
    found = re.search(r"<tools-(\w+)>\n(.*)\n</tools-\1>", prompt, re.DOTALL)
    assert found is not None
    return found[2]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_shortened_descriptions_are_seen_in_prompt_header_and_log(
    tmp_path: Path, log_events: list[dict[str, Any]], stream: bool
) -> None:
    async with (
        running_fitten() as (fitten, url),
        running_gateway(url, tmp_path, tools={"budget": 3000}) as gateway,
    ):
        shown = await header(gateway, fitten, stream=stream)
        tools = tools_in(fitten.prompts[-1])
        assert shown == f"3;stage=2;chars={len(tools)}"
        assert len(tools) <= 3000
        cuts = len(re.findall(r" \[cut: [\d,]+ more characters\]", tools))
        events = [event for event in log_events if event["event"] == "tool_descriptions_shortened"]
        said = [(event["stage"], event["shortened"], event["characters"]) for event in events]
        assert said == [(2, cuts, len(tools))]


async def test_a_repeated_answer_logs_it_once(
    tmp_path: Path, log_events: list[dict[str, Any]]
) -> None:
    async with (
        running_fitten() as (fitten, url),
        running_gateway(url, tmp_path, tools={"budget": 3000}) as gateway,
    ):
        json_object = {"type": "json_object"}
        await header(gateway, fitten, ["no JSON"], ["{}"], response_format=json_object)
        assert len(fitten.prompts) == 2
        events = [event["event"] for event in log_events]
        assert events.count("tool_descriptions_shortened") == 1


async def test_tools_that_fit_are_whole(tmp_path: Path, log_events: list[dict[str, Any]]) -> None:
    async with running_fitten() as (fitten, url), running_gateway(url, tmp_path) as gateway:
        shown = await header(gateway, fitten)
        assert shown == f"3;stage=0;chars={len(tools_in(fitten.prompts[-1]))}"
        assert await header(gateway, fitten, tools=[]) is None
        # A failure has it too: headers do not depend on how the request ends.
        assert await header(gateway, fitten, [{"error": "x"}], stream=True) == shown
        assert "tool_descriptions_shortened" not in [event["event"] for event in log_events]


async def test_json_has_no_budget(tmp_path: Path) -> None:
    tools = {"budget": 3000, "notation": {"*": "json"}}
    async with (
        running_fitten() as (fitten, url),
        running_gateway(url, tmp_path, tools=tools) as gateway,
    ):
        shown = await header(gateway, fitten)
        found = re.search(r"<tools>\n(.*)\n</tools>", fitten.prompts[-1], re.DOTALL)
        assert found is not None
        assert shown == f"3;stage=0;chars={len(found[1])}"


def test_the_first_prompt_of_a_request_counts() -> None:
    outcome = Outcome()
    outcome.offer_tools(OfferedTools(1, 20))
    outcome.offer_tools(OfferedTools(2, 30, 1, 1))
    assert outcome.offered == OfferedTools(1, 20)
