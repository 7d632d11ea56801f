"""Conversations that agents sum up: the reserve, and results that are shortened for it."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from emulator import Emulator
from gateway.apis.openai.chat_request import ChatCompletions
from gateway.fitten.prompt_limit import MAX_CHARS, WINDOW_CHARS
from gateway.generation.request import GenerationRequest
from tests.integration.peer import UPSTREAM_CHAT
from tests.support import Gateway

SIGN = "You are performing a CONTEXT CHECKPOINT COMPACTION. "
TOOLS = [{"type": "function", "function": {"name": "read", "parameters": {"type": "object"}}}]


@pytest.fixture(autouse=True)
def _keeping_the_reserve(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the route of chats stand for one that keeps the reserve."""
    read = ChatCompletions.read

    def with_reserve(endpoint: ChatCompletions, data: dict[str, Any]) -> GenerationRequest:
        return replace(read(endpoint, data), keeps_reserve=True)

    monkeypatch.setattr(ChatCompletions, "read", with_reserve)
    return iter([None])


def conversation(size: int, last: str, *, result: str = "r") -> dict[str, Any]:
    call = {"id": "c1", "type": "function", "function": {"name": "read", "arguments": "{}"}}
    results = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": result * (size // len(result))},
        {"role": "assistant", "content": "I have read it."},
    ]
    return {
        "messages": [
            {"role": "user", "content": "Read it."},
            *results,
            {"role": "user", "content": f"{last}[[say text=summary]]"},
        ],
        "tools": TOOLS,
    }


async def ask(gateway: Gateway, body: dict[str, Any]) -> tuple[int, Any, str | None]:
    async with gateway.http.post(f"{gateway.url}/v1/chat/completions", json=body) as response:
        return response.status, await response.json(), response.headers.get("x-fitten-squeezed")


async def test_a_turn_must_leave_the_reserve_that_the_summary_may_use(
    gateway: Gateway, emulator: Emulator
) -> None:
    size = WINDOW_CHARS - 100
    status, answer, _ = await ask(gateway, conversation(size, "Go on. "))
    assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")
    assert f"of {WINDOW_CHARS} characters" in answer["error"]["message"]
    assert not emulator.calls_to(UPSTREAM_CHAT)
    status, answer, squeezed = await ask(gateway, conversation(size, SIGN))
    assert (status, squeezed) == (200, None)
    assert "summary" in answer["choices"][0]["message"]["content"]


@pytest.mark.parametrize("result", ["r", "好", "<|end|>"])
@pytest.mark.parametrize("size", [MAX_CHARS, 600_000])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_for_a_summary_always_fits(
    gateway: Gateway,
    emulator: Emulator,
    log_events: list[Any],
    size: int,
    result: str,
    stream: bool,
) -> None:
    body = json.dumps(conversation(size, SIGN, result=result) | {"stream": stream}).encode()
    url, headers = f"{gateway.url}/v1/chat/completions", {"Content-Type": "application/json"}
    # A file, because aiohttp's client warns of bytes beyond a megabyte.
    async with gateway.http.post(url, data=io.BytesIO(body), headers=headers) as response:
        assert response.status == 200, await response.text()
        assert b'"finish_reason":"stop"' in await response.read()
        squeezed = int(response.headers["x-fitten-squeezed"])
    assert squeezed > size - MAX_CHARS
    (call,) = emulator.calls_to(UPSTREAM_CHAT)
    prompt = call.body["inputs"]
    assert len(prompt) <= MAX_CHARS
    assert "characters left out here to make room for the summary" in prompt
    await asyncio.sleep(0)
    (event,) = [event for event in log_events if event["event"] == "results_squeezed"]
    (line,) = [event for event in log_events if event["event"] == "request"]
    assert (event["chars"], line["squeezed"]) == (squeezed, squeezed)


async def test_no_other_request_is_shortened(gateway: Gateway, emulator: Emulator) -> None:
    status, answer, squeezed = await ask(gateway, conversation(MAX_CHARS, "Go on. "))
    assert (status, answer["error"]["code"], squeezed) == (400, "context_length_exceeded", None)
    too_long = {"messages": [{"role": "user", "content": f"{SIGN}{'x' * MAX_CHARS}"}]}
    status, answer, squeezed = await ask(gateway, too_long)
    assert (status, answer["error"]["code"], squeezed) == (400, "context_length_exceeded", None)
    assert not emulator.calls_to(UPSTREAM_CHAT)
