"""The size of the context in the Messages and Responses dialects: counts, errors, the reserve."""

from __future__ import annotations

import json
from typing import Any

import pytest

from emulator import Emulator
from gateway.fitten.prompt_limit import MAX_CHARS, WINDOW_CHARS
from tests.integration.peer import UPSTREAM_CHAT
from tests.support import Gateway

SIGN = "You are performing a CONTEXT CHECKPOINT COMPACTION. "
ROUTES = ("/v1/messages", "/v1/responses")


def body(route: str, text: str, **more: Any) -> bytes:
    """Return a request of one text for a route."""
    if route == "/v1/responses":
        return json.dumps({"model": "fitten-code", "input": text, **more}).encode()
    messages = [{"role": "user", "content": text}]
    more = {"max_tokens": 99} | more
    return json.dumps({"model": "fitten-code", "messages": messages, **more}).encode()


async def post(gateway: Gateway, path: str, data: bytes) -> tuple[int, Any]:
    """Send a body; return the status and the parsed answer."""
    headers = {"Content-Type": "application/json"}
    async with gateway.http.post(f"{gateway.url}{path}", data=data, headers=headers) as response:
        return response.status, await response.json()


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/v1/messages/count_tokens?beta=true", {"input_tokens": 1023}),
        ("/v1/responses/input_tokens", {"object": "response.input_tokens", "input_tokens": 1023}),
    ],
)
async def test_tokens_are_counted_without_the_upstream(
    gateway: Gateway, emulator: Emulator, path: str, answer: Any
) -> None:
    route = ROUTES["responses" in path]
    assert await post(gateway, path, body(route, "word " * 800)) == (200, answer)
    assert not emulator.calls_to(UPSTREAM_CHAT)


@pytest.mark.parametrize("route", ROUTES)
async def test_the_count_is_what_the_usage_says(gateway: Gateway, route: str) -> None:
    text = "word " * 2000 + "[[no_usage]]"
    _, answer = await post(gateway, route, body(route, text))
    counting = route + ("/count_tokens" if route == "/v1/messages" else "/input_tokens")
    _, count = await post(gateway, counting, body(route, text))
    assert count["input_tokens"] == pytest.approx(answer["usage"]["input_tokens"], rel=0.02)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("route", "says"),
    [
        ("/v1/messages", "prompt is too long: 71700 tokens > 70656 maximum"),
        ("/v1/responses", "maximum context length is 70656 tokens"),
    ],
)
async def test_a_full_context_is_said_in_tokens_when_the_reserve_begins(
    gateway: Gateway, emulator: Emulator, route: str, says: str, stream: bool
) -> None:
    text = "x" * (71_700 * 4)
    status, answer = await post(gateway, route, body(route, text, stream=stream))
    assert status == 400
    assert says in answer["error"]["message"]
    assert not emulator.calls_to(UPSTREAM_CHAT)


@pytest.mark.parametrize("route", ROUTES)
async def test_a_request_for_a_summary_may_use_the_reserve(gateway: Gateway, route: str) -> None:
    status, _ = await post(gateway, route, body(route, SIGN + "x" * WINDOW_CHARS))
    assert status == 200
    status, _ = await post(gateway, route, body(route, SIGN + "x" * MAX_CHARS))
    assert status == 400


async def test_models_have_the_size_of_the_context_in_both_dialects(gateway: Gateway) -> None:
    for headers in ({}, {"anthropic-version": "2023-06-01"}):
        async with gateway.http.get(f"{gateway.url}/v1/models", headers=headers) as response:
            models = (await response.json())["data"]
        assert {model["max_input_tokens"] for model in models} == {70_656}
