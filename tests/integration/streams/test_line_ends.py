"""No character that a reader may take for a line end is in a frame of a stream."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web

from gateway.apis.base import EVENT_STREAM
from gateway.apis.openai.errors import error_frame
from gateway.config.settings import StreamSettings
from gateway.errors import GatewayError
from gateway.generation.pieces import Piece
from gateway.http.sse import EventStream
from tests.support import Gateway, frames

# What `str.splitlines` takes for line ends, which is more than SSE and JSON do.
LINE_ENDS = "\v\f\x1c\x1d\x1e\x85\u2028\u2029"
TEXT = f"one{'|'.join(LINE_ENDS)}two “quoted” · © 好 é \u2027\u202a\x84\x86 {LINE_ENDS}"
SAID = quote(TEXT, safe="")
TOOLS = [{"type": "function", "function": {"name": "find"}}]

STREAMS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat, one batch": ("/v1/chat/completions", {"say": f"[[say text={SAID} piece=1000]]"}),
    "chat, small pieces": ("/v1/chat/completions", {"say": f"[[say text={SAID} piece=1]]"}),
    "chat, pieces apart": ("/v1/chat/completions", {"say": f"[[say text={SAID} pace=0.001]]"}),
    "chat, a stop string": (
        "/v1/chat/completions",
        {"say": f"[[say text={SAID}]]", "stop": "never"},
    ),
    "chat, tools": ("/v1/chat/completions", {"say": f"[[say text={SAID}]]", "tools": TOOLS}),
    "completion": ("/v1/completions", {"prompt": f"[[complete text={SAID}]]"}),
    "completion, echo": ("/v1/completions", {"prompt": TEXT, "echo": True}),
    "fim": ("/v1/fim/completions", {"prompt": f"[[complete text={SAID}]]", "suffix": ""}),
    "infill": ("/infill", {"input_prefix": f"[[complete text={SAID}]]", "input_suffix": ""}),
}


@pytest.mark.parametrize("name", STREAMS)
async def test_a_reader_that_splits_at_unicode_line_ends_gets_every_frame(
    gateway: Gateway, name: str
) -> None:
    path, body = STREAMS[name]
    if said := body.get("say"):
        body = {"messages": [{"role": "user", "content": said}], **body}
    async with gateway.http.post(gateway.url + path, json={**body, "stream": True}) as response:
        assert response.status == 200, await response.text()
        raw = await response.read()
    assert_only_fields(raw)
    assert TEXT in "".join(text_of(frame) for frame in frames(raw) if frame != "[DONE]")


def text_of(frame: Any) -> str:
    """Return the text of a frame in any of the dialects."""
    if "choices" not in frame:
        return str(frame["content"])
    return "".join(
        choice.get("text") or choice.get("delta", {}).get("content") or ""
        for choice in frame["choices"]
    )


def assert_only_fields(raw: bytes) -> None:
    others = [line for line in raw.decode().splitlines() if not line.startswith(("data: ", ":"))]
    assert set(others) <= {""}


def data(text: str) -> bytes:
    return b"data: " + json.dumps({"text": text}, ensure_ascii=False).encode() + b"\n\n"


class RawEncoder:
    """Encodes every kind of frame with the text, as JSON that escapes nothing outside ASCII."""

    media_type = EVENT_STREAM

    def begin(self) -> bytes:
        return data("begin " + TEXT)

    def pieces(self, batch: Sequence[Piece]) -> bytes:
        return b"".join(data(text) for _, text in batch)

    def keep_alive(self) -> bytes:
        return b": keep-alive\n\n"

    def end(self) -> bytes:
        return data("end " + TEXT)

    def error(self, error: GatewayError) -> bytes:
        return error_frame(error)

    def whole(self, pieces: Sequence[Piece]) -> bytes:
        raise AssertionError


@asynccontextmanager
async def serving(handler: Callable[[web.Request], Any]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("version", [aiohttp.HttpVersion10, aiohttp.HttpVersion11])
async def test_every_way_a_frame_can_leave_escapes_them(version: aiohttp.HttpVersion) -> None:
    """The first write, a write at once, one that waits, the batch held for the end, an error."""
    encoder = RawEncoder()
    taken: list[bool] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        stream = EventStream(request, encoder, StreamSettings())
        await stream.put([("content", "put " + TEXT)])
        taken.append(stream.take([("content", "take " + TEXT)]))
        stream.hold([("content", "hold " + TEXT)])
        error = GatewayError("error " + TEXT)
        return await stream.end(lambda: encoder.error(error))

    async with (
        serving(handle) as url,
        aiohttp.ClientSession(version=version) as http,
        http.get(url) as response,
    ):
        raw = await response.read()
    assert_only_fields(raw)
    *texts, error = frames(raw)
    assert taken == [version == aiohttp.HttpVersion11]
    assert [frame["text"] for frame in texts] == [
        f"{way} {TEXT}" for way in ("begin", "put", *["take"] * taken[0], "hold")
    ]
    assert error["error"]["message"] == "error " + TEXT
