"""The size of the context in each dialect: counts, errors, the reserve."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emulator import Emulator
from gateway.fitten.prompt_limit import MAX_CHARS, WINDOW_CHARS
from tests.integration.peer import UPSTREAM_CHAT
from tests.integration.scripted_fitten import running_fitten
from tests.support import Gateway, running_gateway

SIGN = "You are performing a CONTEXT CHECKPOINT COMPACTION. "
ROUTES = ("/v1/messages", "/v1/responses")
CHATS = ("/v1/chat/completions", "/api/chat")
LIMITS: dict[str, Callable[[int], dict[str, Any]]] = {
    "/v1/chat/completions": lambda limit: {"max_tokens": limit},
    "/v1/messages": lambda limit: {"max_tokens": limit},
    "/v1/responses": lambda limit: {"max_output_tokens": limit},
    "/api/chat": lambda limit: {"options": {"num_predict": limit}},
}
"""Returns the members of a body that limit the tokens of the answer."""


def body(route: str, text: str, **more: Any) -> bytes:
    """Return a request of one text for a route."""
    if route == "/v1/responses":
        return json.dumps({"model": "fitten-code", "input": text, **more}).encode()
    messages = [{"role": "user", "content": text}]
    more = {"stream": False, **LIMITS[route](99), **more}
    return json.dumps({"model": "fitten-code", "messages": messages, **more}).encode()


async def post(gateway: Gateway, path: str, data: bytes) -> tuple[int, Any]:
    """Send a body; return the status and the parsed answer."""
    headers = {"Content-Type": "application/json"}
    async with gateway.http.post(f"{gateway.url}{path}", data=data, headers=headers) as response:
        return response.status, await response.json()


def sentence(route: str, status: int, answer: Any) -> str:
    """Return the sentence of the error that an answer must be: of a full context."""
    error = answer["error"]
    assert status == 400
    if route == "/api/chat":
        assert isinstance(error, str)
        return error
    assert error["type"] == "invalid_request_error"
    assert route == "/v1/messages" or error["code"] == "context_length_exceeded"
    return str(error["message"])


def prompt_tokens(route: str, answer: Any) -> int:
    """Return how many tokens the prompt had, as the answer says."""
    if route == "/api/chat":
        return int(answer["prompt_eval_count"])
    member = "prompt_tokens" if route == "/v1/chat/completions" else "input_tokens"
    return int(answer["usage"][member])


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
    ("route", "tokens", "most"),
    [
        *((route, 77_000, 76_800) for route in CHATS),
        *((route, 71_700, 70_656) for route in ROUTES),
    ],
)
async def test_a_full_context_is_said_in_the_words_of_the_dialect(
    gateway: Gateway, emulator: Emulator, route: str, tokens: int, most: int, stream: bool
) -> None:
    """CHATS may use the reserve. Claude Code reads the numbers of exactly these words."""
    text = "x" * (tokens * 4)
    status, answer = await post(gateway, route, body(route, text, stream=stream))
    message = sentence(route, status, answer)
    if route == "/v1/messages":
        assert message == f"prompt is too long: {tokens} tokens > {most} maximum"
    else:
        assert f"maximum context length is {most} tokens. " in message
        assert f"resulted in {tokens} tokens" in message
    assert not emulator.calls_to(UPSTREAM_CHAT)


@pytest.mark.parametrize("route", [*CHATS, *ROUTES])
async def test_a_full_context_has_its_numbers_in_the_tokens_of_the_usage(
    tmp_path: Path, route: str
) -> None:
    """Usage is calibrated on what Fitten counts, here on eight bytes a token."""
    long_answer = ["word " * 20]
    async with running_fitten() as (fitten, url), running_gateway(url, tmp_path) as gateway:
        fitten.answers += [["Hi."]] * 3 + [long_answer]
        for _ in range(3):
            assert (await post(gateway, route, body(route, "字x" * 2000)))[0] == 200
        # What a limit cuts off has an estimated usage.
        half = 150_000
        _, answer = await post(gateway, route, body(route, "x" * half, **LIMITS[route](5)))
        used = prompt_tokens(route, answer)
        assert used == pytest.approx(half / 8, rel=0.02)
        status, answer = await post(gateway, route, body(route, "x" * 320_000))
    message = sentence(route, status, answer)
    most, tokens = sorted(int(number) for number in re.findall(r"\d+(?= (?:tokens|max))", message))
    chars = MAX_CHARS if route in CHATS else WINDOW_CHARS
    assert most / chars == pytest.approx(used / half, rel=0.02)
    assert tokens / 320_000 == pytest.approx(used / half, rel=0.02)


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
