"""Keep-alive comments while the upstream is silent."""

from __future__ import annotations

import json
import time
from typing import Any

import aiohttp
import pytest

from emulator import Emulator
from tests.conftest import StartGateway
from tests.integration.peer import upstream_call
from tests.support import content, frames
from tests.waiting import NEVER, eventually

KEEP_ALIVE = b": keep-alive"
QUICK = {"grace": 0.05, "keep_alive": 0.05}


def checked(raw: bytes) -> list[bytes]:
    """The blocks of a whole stream, each a comment or one data frame."""
    assert raw.endswith(b"\n\n")
    parts = raw[:-2].split(b"\n\n")
    for part in parts:
        assert b"\n" not in part
        if part != KEEP_ALIVE and part != b"data: [DONE]":
            json.loads(part.removeprefix(b"data: "))
    return parts


async def comments(response: aiohttp.ClientResponse, count: int) -> bytes:
    """Return what arrives until this number of comments has come."""
    return b"".join([await response.content.readuntil(KEEP_ALIVE) for _ in range(count)])


async def test_a_silent_upstream_is_bridged_by_comments(
    start_gateway: StartGateway, emulator: Emulator
) -> None:
    gateway = await start_gateway(stream=QUICK)
    async with gateway.post_chat("[[slow first=3600 gap=3600 n=3]]", stream=True) as response:
        assert response.status == 200
        raw = b""
        for _ in range(3):
            raw += await comments(response, 3)
            await eventually(lambda: emulator.pauses)  # on a slow machine, the request is slower
            emulator.release()
            raw += await response.content.readuntil(b'"content":"w')
        raw += await response.read()
    parts = checked(raw)
    words = [i for i, part in enumerate(parts) if b'"content":"w' in part]
    assert len(words) == 3
    assert parts[: words[0]].count(KEEP_ALIVE) >= 3
    assert parts[words[0] : words[1]].count(KEEP_ALIVE) >= 3
    assert parts[words[1] : words[2]].count(KEEP_ALIVE) >= 3
    assert parts[-1] == b"data: [DONE]"


async def test_comments_come_at_their_interval_and_not_more_often(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(stream={"grace": 0.1, "keep_alive": 0.2})
    started = time.monotonic()
    async with gateway.post_chat("[[silent]]", stream=True) as response:
        await comments(response, 3)
    assert time.monotonic() - started >= 0.1 + 2 * 0.2 - 0.02


async def test_comments_are_not_sent_while_pieces_come(start_gateway: StartGateway) -> None:
    """For longer than their interval."""
    gateway = await start_gateway(stream={"grace": 1.0, "keep_alive": 1.0})
    async with gateway.post_chat("[[count n=25 pace=0.05]]", stream=True) as response:
        assert KEEP_ALIVE not in checked(await response.read())


async def test_heartbeats_of_the_upstream_count_as_silence(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(stream=QUICK)
    async with gateway.post_chat("[[heartbeats_forever pace=0.01]]", stream=True) as response:
        assert b"heartbeat" not in await comments(response, 3)


async def test_comments_do_not_disturb_a_decoder(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(stream=QUICK)
    parsed = await gateway.stream("[[slow first=0.2 gap=0.1 n=3]]")
    assert content(parsed) == "w0 w1 w2 "
    assert parsed[0]["choices"][0]["delta"]["role"] == "assistant"
    assert parsed[-1] == "[DONE]"


@pytest.mark.parametrize("marker", ["silent", "heartbeats_forever", "dribble"])
async def test_the_headers_are_sent_after_the_grace(
    start_gateway: StartGateway, marker: str
) -> None:
    gateway = await start_gateway(stream=QUICK)
    await gateway.whole("[[say]]")
    started = time.monotonic()
    async with gateway.post_chat(f"[[{marker}]]", stream=True) as response:
        assert response.status == 200
        assert time.monotonic() - started > 0.04
        await comments(response, 1)


async def test_an_upstream_that_sends_not_even_headers_is_bridged_too(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(stream=QUICK)
    async with gateway.post_chat("[[no_headers]]", stream=True) as response:
        assert response.status == 200
        await comments(response, 1)


async def test_a_slow_login_is_bridged_too(start_gateway: StartGateway, emulator: Emulator) -> None:
    emulator.account("demo_user").scenarios.add("login_slow")
    emulator.change_slow(NEVER)
    gateway = await start_gateway(stream=QUICK)
    async with gateway.post_chat("[[say]]", stream=True) as response:
        raw = await comments(response, 1)
        emulator.release()
        raw += await response.read()
    assert frames(raw)[-1] == "[DONE]"


async def test_a_failure_within_the_grace_keeps_its_status(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(
        stream={"grace": NEVER}, fitten={"timeouts": {"first_piece": 0.2}}
    )
    async with gateway.post_chat("[[silent]]", stream=True) as response:
        assert response.status == 504


async def test_a_whole_answer_is_not_preceded_by_comments(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(stream=QUICK)
    async with gateway.post_chat("[[slow first=0.2 gap=0 n=1]]") as response:
        raw = await response.read()
    answer: dict[str, Any] = json.loads(raw)
    assert answer["choices"][0]["message"]["content"] == "w0 "


async def test_a_client_that_left_is_noticed_by_comments_at_the_latest(
    start_gateway: StartGateway, emulator: Emulator
) -> None:
    gateway = await start_gateway(stream=QUICK)
    async with gateway.post_chat("[[silent]]", stream=True) as response:
        await comments(response, 1)
        call = await upstream_call(emulator)
        response.close()
    await eventually(lambda: call.closed)
