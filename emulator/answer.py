"""Writes a streamed chat answer: one JSON object per line, ended by closing the body."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web

from emulator.calls import WrittenCall

NDJSON = "application/x-ndjson"
HELLO = ("Hel", "lo, ", "world", "!\n")
HELLO_USAGE = {"input_tokens": 42, "output_tokens": 5, "status": "ok"}


def json_line(value: object) -> bytes:
    """Return one line of the stream with its line feed; characters outside ASCII as UTF-8."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    except UnicodeEncodeError:
        # Half an emoji, received as a lone \u escape, can only be sent back as one.
        return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def delta_lines(pieces: Iterable[str]) -> bytes:
    """Return the lines of several deltas."""
    return b"".join(json_line({"delta": piece}) for piece in pieces)


class EmulatedAnswer:
    """Writes the answer of one chat call and counts what it sends in the call's record.

    The head goes out with `open`, or with the first write. `response` is what the endpoint
    returns in the end.
    """

    def __init__(self, request: web.Request, call: WrittenCall) -> None:
        self.request = request
        self.call = call
        self.response: web.StreamResponse | None = None

    async def open(
        self,
        status: int = 200,
        content_type: str = NDJSON,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send status line and headers now; the body follows in chunks."""
        response = web.StreamResponse(status=status, headers=headers)
        response.content_type = content_type
        self.response = response
        self.call.status = status
        await response.prepare(self.request)

    async def write(self, data: bytes, pace: float = 0.0) -> None:
        """Send bytes as one chunk, then wait `pace` seconds.

        Other tasks run during the wait, even when it is 0. So an endless answer cannot block a
        client in the same event loop.
        """
        if self.response is None:
            await self.open()
        assert self.response is not None
        await self.response.write(data)
        self.call.bytes_sent += len(data)
        await asyncio.sleep(pace)

    async def line(self, value: object, pace: float = 0.0) -> None:
        """Send any JSON value as a line."""
        await self.write(json_line(value), pace)

    async def delta(self, text: str, pace: float = 0.0) -> None:
        """Send a piece of the visible answer."""
        await self.write(json_line({"delta": text}), pace)

    async def hello(self) -> None:
        """Send the four deltas of `Hello, world!`."""
        for piece in HELLO:
            await self.delta(piece)

    async def usage(self, usage: Any = HELLO_USAGE, **members: Any) -> None:
        """Send the usage line, by default the one that belongs to `hello`."""
        await self.line({"usage": usage, **members})

    async def error(self, status: int, text: str) -> None:
        """Answer with a JSON error instead of a stream."""
        await self.open(status, "application/json")
        await self.write(json.dumps({"detail": text}).encode())
