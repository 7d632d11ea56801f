"""The repair of a broken answer: what the client sees while it waits, and when there is none."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.apis.test_hybrid_tools import BEGUN, REST, TOOLS, WHOLE, ask
from tests.integration.scripted_fitten import PAUSE, running_fitten
from tests.support import Gateway, running_gateway
from tests.waiting import LONGEST_WAIT, eventually

BODY: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "tools": TOOLS}


async def read_until(response: Any, wanted: bytes) -> bytes:
    seen = b""
    while wanted not in seen:
        part = await asyncio.wait_for(response.content.readany(), LONGEST_WAIT)
        assert part, seen
        seen += part
    return seen


async def test_keep_alives_are_sent_while_a_call_is_continued(tmp_path: Path) -> None:
    waits = {"grace": 0.05, "keep_alive": 0.05}
    async with (
        running_fitten() as (fitten, url),
        running_gateway(url, tmp_path, stream=waits) as gateway,
    ):
        fitten.answers += [[BEGUN], [PAUSE, REST]]
        async with gateway.http.post(
            f"{gateway.url}/v1/chat/completions", json={**BODY, "stream": True}
        ) as response:
            await read_until(response, b"print")
            await eventually(lambda: len(fitten.prompts) == 2)
            await read_until(response, b": keep-alive")
            fitten.go_on()
            assert b"tool_calls" in await read_until(response, b"[DONE]")


async def test_a_client_that_leaves_gets_no_repair(tmp_path: Path) -> None:
    async with running_fitten() as (fitten, url), running_gateway(url, tmp_path) as gateway:
        fitten.answers += [[BEGUN, PAUSE], ["unasked"]]
        response = await gateway.http.post(
            f"{gateway.url}/v1/chat/completions", json={**BODY, "stream": True}
        )
        await read_until(response, b"print")
        response.close()
        await eventually(lambda: gateway_is_idle(gateway))
        fitten.go_on()
        assert await ask(gateway) == ("unasked", [], "stop")
        assert len(fitten.prompts) == 2


async def test_a_client_that_leaves_during_a_repair_ends_it(tmp_path: Path) -> None:
    async with running_fitten() as (fitten, url), running_gateway(url, tmp_path) as gateway:
        fitten.answers += [[BEGUN], [PAUSE, REST], ["next"]]
        response = await gateway.http.post(
            f"{gateway.url}/v1/chat/completions", json={**BODY, "stream": True}
        )
        await eventually(lambda: len(fitten.prompts) == 2)
        response.close()
        await eventually(lambda: gateway_is_idle(gateway))
        fitten.go_on()
        assert await ask(gateway) == ("next", [], "stop")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_repair_ends_with_the_time_of_the_whole_answer(
    tmp_path: Path, stream: bool
) -> None:
    limits = {"timeouts": {"answer": 0.5, "first_piece": 0.5, "between_pieces": 0.5}}
    async with (
        running_fitten() as (fitten, url),
        running_gateway(url, tmp_path, fitten=limits) as gateway,
    ):
        fitten.answers += [[BEGUN], [PAUSE]]
        _, calls, reason = await ask(gateway, stream=stream)
        assert (calls[0][0], reason) == ("Edit", "length")
        fitten.go_on()


async def test_the_usage_of_both_chats_is_summed(tmp_path: Path) -> None:
    async with running_fitten() as (fitten, url), running_gateway(url, tmp_path) as gateway:
        fitten.answers += [[BEGUN], [REST]]
        async with gateway.http.post(f"{gateway.url}/v1/chat/completions", json=BODY) as response:
            answer = await response.json()
        (call,) = answer["choices"][0]["message"]["tool_calls"]
        assert json.loads(call["function"]["arguments"]) == WHOLE
        asked = sum(len(prompt) // 4 for prompt in fitten.prompts)
        assert answer["usage"]["prompt_tokens"] == asked
        assert answer["usage"]["completion_tokens"] == 14


def gateway_is_idle(gateway: Gateway) -> bool:
    """Return whether no request is in flight."""
    return gateway.entrypoint.in_flight.active == 0
