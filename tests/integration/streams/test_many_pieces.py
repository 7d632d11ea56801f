"""Pieces that come faster than a client reads: each is sent once, many of them in one frame."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.faults.upstream import FaultyFitten, whole
from tests.integration.conftest import Connect
from tests.integration.peer import chat_request
from tests.support import content, frames, running_gateway

PIECES = [f"{number} " for number in range(20_000)]


@pytest.fixture
async def fitten() -> AsyncIterator[FaultyFitten]:
    """A Fitten that sends all pieces at once."""
    fitten = FaultyFitten()
    lines = [json.dumps({"delta": piece}).encode() + b"\n" for piece in PIECES]
    fitten.moment, fitten.fault = "chat", (whole(b"".join(lines), last=False),)
    fitten.go.set()
    await fitten.start()
    yield fitten
    await fitten.stop()


async def test_pieces_that_come_together_share_frames(fitten: FaultyFitten, tmp_path: Path) -> None:
    async with running_gateway(fitten.url, tmp_path) as gateway:
        received = await gateway.stream("x")
    assert content(received) == "".join(PIECES)
    assert len(received) < len(PIECES) / 2


async def test_a_client_that_reads_slowly_gets_each_piece_once(
    fitten: FaultyFitten, tmp_path: Path, connect: Connect
) -> None:
    async with running_gateway(fitten.url, tmp_path, server={"send_buffer": 4096}) as gateway:
        peer = await connect(gateway.url, receive_buffer=4096)
        await peer.send(chat_request("x", stream=True))
        await asyncio.sleep(0.1)
        answer = await peer.answer()
    assert content(frames(answer.body)) == "".join(PIECES)
