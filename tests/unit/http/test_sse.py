"""Frames on their way to one client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import aiohttp
import pytest
from aiohttp import web

from gateway.config.settings import StreamSettings
from gateway.errors import GatewayError
from gateway.generation.pieces import Piece
from gateway.http.sse import EventStream


class ContentOnly:
    """An encoder whose dialect has no frames for thoughts."""

    media_type = "application/x-ndjson"

    def begin(self) -> bytes:
        return b"begin "

    def keep_alive(self) -> bytes:
        return b"alive "

    def pieces(self, batch: Sequence[Piece]) -> bytes:
        return "".join(text for kind, text in batch if kind == "content").encode()

    def end(self) -> bytes:
        return b"end"

    def error(self, error: GatewayError) -> bytes:
        return b"error"

    def whole(self, pieces: Sequence[Piece]) -> bytes:
        return b""


async def answer(request: web.Request) -> web.StreamResponse:
    stream = EventStream(request, ContentOnly(), StreamSettings())
    await stream.put([("reasoning", "Hm.")])
    assert stream.take([("content", "a ")])
    assert stream.take([("reasoning", "So.")])
    await stream.put([("reasoning", "Well.")])
    assert stream.take([("content", "b ")])
    return await stream.end(lambda: b"end")


@pytest.fixture
async def url() -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_a_batch_without_frames_does_not_end_the_body(url: str) -> None:
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        assert response.headers["Content-Type"] == ContentOnly.media_type
        assert await response.read() == b"begin a b end"
