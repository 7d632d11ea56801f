"""Routes that count the tokens of a prompt, with the endpoint of chats as an example."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from emulator import Emulator
from gateway.apis.openai.chat_request import ChatCompletions
from gateway.app import UPSTREAM
from gateway.config.settings import ServerSettings
from gateway.http.request_body import RequestBodyReader
from gateway.http.token_count import CountHandler
from tests.counting import calls_of
from tests.integration.peer import UPSTREAM_CHAT
from tests.support import Gateway
from tests.unit.middlewares.support import App, running

HEADERS = {"Content-Type": "application/json"}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": f"tool_{n}",
            "description": f"{n}. " + "It does what its name says. " * 20,
            "parameters": {
                "type": "object",
                "properties": {"path": {"type": "string"}, "count": {"type": "integer"}},
                "required": ["path"],
            },
        },
    }
    for n in range(24)
]
CALL = {"id": "c1", "type": "function", "function": {"name": "tool_1", "arguments": "{}"}}
TURN = [
    {"role": "assistant", "content": "I look.", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "a result\n" * 50},
    {"role": "assistant", "content": "I have looked."},
    {"role": "user", "content": "Go on. [[say text=done]]"},
]
BODIES: dict[str, dict[str, Any]] = {
    "a word": {"messages": TURN[-1:]},
    "tools": {"messages": TURN[-1:], "tools": TOOLS},
    "an agent": {"messages": TURN * 20, "tools": TOOLS},
}


@pytest.fixture
async def app(gateway: Gateway) -> AsyncIterator[App]:
    """An application that counts, with the gateway's own upstream."""
    upstream, bodies = gateway.entrypoint.app[UPSTREAM], RequestBodyReader(ServerSettings())

    def encode(tokens: int) -> bytes:
        return msgspec.json.encode({"input_tokens": tokens})

    handler = CountHandler(ChatCompletions(), upstream, bodies, encode)
    async with running(handler=handler.answer) as app:
        yield app


async def post(app: App, body: Any) -> tuple[int, Any]:
    data = json.dumps(body).encode()
    async with app.http.post(f"{app.url}/here", data=data, headers=HEADERS) as response:
        return response.status, await response.json()


@pytest.mark.parametrize("name", BODIES)
async def test_the_count_is_what_the_usage_says_later(
    app: App, gateway: Gateway, emulator: Emulator, name: str
) -> None:
    body = BODIES[name]
    for _ in range(3):  # so that the estimate is calibrated
        async with gateway.http.post(f"{gateway.url}/v1/chat/completions", json=body) as response:
            usage = (await response.json())["usage"]
    asked = len(emulator.calls_to(UPSTREAM_CHAT))
    status, answer = await post(app, body)
    assert status == 200
    assert answer["input_tokens"] == pytest.approx(usage["prompt_tokens"], rel=0.1, abs=20)
    assert len(emulator.calls_to(UPSTREAM_CHAT)) == asked


async def test_fifteen_at_once_are_counted_without_the_upstream(
    app: App, emulator: Emulator
) -> None:
    bodies = [{"messages": TURN[-1:], "tools": TOOLS[:n]} for n in range(1, 16)]
    answers = await asyncio.gather(*[post(app, body) for body in bodies])
    counts = [answer["input_tokens"] for _, answer in answers]
    assert counts == sorted(counts)
    assert len(set(counts)) == 15
    assert not emulator.calls_to(UPSTREAM_CHAT)


@pytest.mark.parametrize("name", ["tools", "an agent"])
async def test_a_count_costs_a_fifth_more_than_reading_the_body(
    gateway: Gateway, name: str
) -> None:
    upstream, endpoint = gateway.entrypoint.app[UPSTREAM], ChatCompletions()
    data = json.dumps(BODIES[name]).encode()
    request = endpoint.parse(data)
    parsing = calls_of(lambda: endpoint.parse(data))
    assert calls_of(lambda: upstream.estimate_prompt(request)) <= 0.2 * parsing


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"messages": []}, None),
        ({"messages": TURN[-1:], "model": "unknown-9"}, "model_not_found"),
        ("text", "invalid_json"),
    ],
)
async def test_a_wrong_request_is_refused_as_when_it_is_sent(
    app: App, gateway: Gateway, body: Any, code: str | None
) -> None:
    status, answer = await post(app, body)
    async with gateway.http.post(f"{gateway.url}/v1/chat/completions", json=body) as response:
        assert (status, answer) == (response.status, await response.json())
    assert answer["error"]["code"] in (code, "invalid_type")


async def test_half_an_emoji_is_counted(app: App) -> None:
    data = b'{"messages": [{"role": "user", "content": "\\ud83d"}]}'
    async with app.http.post(f"{app.url}/here", data=data, headers=HEADERS) as response:
        assert (await response.json())["input_tokens"] > 0
