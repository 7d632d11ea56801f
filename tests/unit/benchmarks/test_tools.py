"""The turns with tools over an endpoint of OpenAI's API, and over the emulator."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from benchmarks.tools.__main__ import main
from benchmarks.tools.emulated import emulated_turns, obeyed
from benchmarks.tools.endpoint import ToolEndpoint, message_of, tools
from gateway.apis.openai.chat_request import ChatCompletions
from gateway.doctor.command import MEASURED
from gateway.doctor.report import TurnResult
from gateway.doctor.tool_cases import CASES, TOOLS, ToolCase
from gateway.images.sniff import ImageLimits

BY_NAME = {case.name: case for case in CASES}
ONE = BY_NAME["one call"]
Answer = Callable[[Any], tuple[int, Any]]


@asynccontextmanager
async def server(answer: Answer, **headers: str) -> AsyncIterator[tuple[str, list[Any]]]:
    """Run an endpoint of OpenAI's API; give its address and the requests that it got."""
    received: list[Any] = []

    async def completions(request: web.Request) -> web.Response:
        received.append(await request.json())
        status, body = answer(received[-1])
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=status, text=text, headers=headers)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", completions)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1", received
    finally:
        await runner.cleanup()


async def turn(case: ToolCase, answer: Answer, **headers: str) -> tuple[TurnResult, str]:
    async with (
        server(answer, **headers) as (url, _),
        aiohttp.ClientSession() as http,
    ):
        return await ToolEndpoint(http, url, "m").run(case)


def said(content: str | None, *calls: tuple[str, Any]) -> Any:
    made = [{"function": {"name": name, "arguments": arguments}} for name, arguments in calls]
    return {"choices": [{"message": {"content": content, "tool_calls": made}}]}


HAMBURG = '{"city": "Hamburg"}'
VERDICTS = [
    pytest.param(200, said(None, ("get_weather", HAMBURG)), "exact", id="exact"),
    pytest.param(200, said(None, ("get_weather", {"city": "Hamburg"})), "exact", id="object"),
    pytest.param(200, said("", ("get_weather", '{"city": "x"}')), "not exact", id="not exact"),
    pytest.param(200, said("Sorry."), "no valid call", id="text"),
    pytest.param(200, said(None, ("f", HAMBURG)), "false call", id="false call"),
    pytest.param(200, said(None), "failed", id="empty"),
    pytest.param(200, {"choices": []}, "failed", id="no choice"),
    pytest.param(200, "<html>", "failed", id="no JSON"),
    pytest.param(401, {"error": {"message": "a key is needed"}}, "failed", id="error"),
]


@pytest.mark.parametrize(("status", "body", "verdict"), VERDICTS)
async def test_the_verdict_of_an_answer(status: int, body: Any, verdict: str) -> None:
    result, sentence = await turn(ONE, lambda _: (status, body))
    assert result.verdict == verdict
    assert bool(sentence) == (verdict == "failed")
    if status == 401:
        assert (result.failure, sentence) == ("401", "a key is needed")


async def test_an_endpoint_that_nobody_serves_is_a_failure() -> None:
    async with aiohttp.ClientSession() as http:
        result, sentence = await ToolEndpoint(http, "http://127.0.0.1:9/v1", None).run(ONE)
    assert result.failure == "connection"
    assert sentence


async def test_the_characters_are_those_of_the_request_and_the_answer() -> None:
    body = said("Hm.", ("get_weather", HAMBURG))
    result, _ = await turn(ONE, lambda _: (200, body))
    assert result.characters_out == len("Hm.get_weather" + HAMBURG)
    longer = replace(ONE, messages=(replace(ONE.messages[0], text=ONE.messages[0].text + "12"),))
    other, _ = await turn(longer, lambda _: (200, body))
    assert other.characters_in == result.characters_in + 2
    assert result.characters_in > len(json.dumps(tools()))


async def test_a_repair_that_the_gateway_reports_is_counted() -> None:
    body = said(None, ("get_weather", HAMBURG))
    assert (await turn(ONE, lambda _: (200, body)))[0].repairs == 0
    assert (await turn(ONE, lambda _: (200, body), **{"x-fitten-repaired": "cut"}))[0].repairs == 1


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_turn_reaches_the_gateway_as_it_is(case: ToolCase) -> None:
    """The gateway reads from OpenAI's form what the doctor gives to it directly."""
    body = {"messages": [message_of(message) for message in case.messages], "tools": tools()}
    parsed = ChatCompletions(ImageLimits(1, 1)).parse(json.dumps(body).encode())
    assert parsed.messages == tuple(replace(m, failed=False) for m in case.messages)
    assert parsed.tools == TOOLS


def test_a_text_between_lines_is_not_in_the_marker() -> None:
    (message,) = obeyed(BY_NAME["edit"]).messages
    marker = message.text.rpartition("[[obey ")[2]
    assert "shop" in marker
    assert "total" not in marker
    assert obeyed(BY_NAME["after a result"]) == BY_NAME["after a result"]


@pytest.mark.parametrize("notation", MEASURED)
async def test_over_the_emulator_every_call_is_made(notation: Any, tmp_path: Path) -> None:
    async with emulated_turns(notation, tmp_path) as turns:
        results = {case.name: (await turns.run(case))[0] for case in CASES}
    # The notation `json` changes its own tags and Fitten's role markers in texts.
    # The notation `json` changes its own tags in texts. Both may change role markers.
    missed = {name for name, result in results.items() if not result.good}
    assert missed - {"chat template"} == ({"closing tags"} if notation == "json" else set())
    assert all(result.grade.valid == bool(result.case.calls) for result in results.values())
    sizes = [result.characters_in for result in results.values()]
    assert min(sizes) > len(json.dumps(tools())) / 2
    code, one = results["code"], results["one call"]
    texts = [case.messages[0].text for case in (BY_NAME["code"], ONE)]
    assert code.characters_in - one.characters_in == len(texts[0]) - len(texts[1])


async def test_the_command_runs_every_turn_and_writes_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(_: Any) -> tuple[int, Any]:
        return 200, said(None, ("get_weather", HAMBURG))

    async with server(answer) as (url, received):
        file = tmp_path / "turns.json"
        arguments = ["--url", url, "--model", "m", "--runs", "2", "--json", str(file)]
        assert await asyncio.to_thread(main, arguments) == 0
    turns = 2 * sum(case.runs for case in CASES)
    assert len(received) == turns
    assert {request["model"] for request in received} == {"m"}
    (data,) = json.loads(file.read_text())
    assert (data["label"], data["turns"], data["exact"]) == ("m", turns, 2 * ONE.runs)
    assert f"{2 * ONE.runs}/" in capsys.readouterr().out


async def test_the_command_exits_1_when_no_call_was_valid() -> None:
    async with server(lambda _: (500, "")) as (url, _):
        assert await asyncio.to_thread(main, ["--url", url]) == 1
