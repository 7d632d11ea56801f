"""The stream writer: ready frames to one caller, with time limits and keep-alives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp_sse import EventSourceResponse

from gateway.generation import Generation

# Comments are safe for every known decoder as long as no `id:` was ever sent.
KEEP_ALIVE = b": keep-alive\n\n"

# A transport's default mark, in bytes, beyond which a write waits for the reader.
_HIGH_WATER = 64 * 1024


class _Response(EventSourceResponse):
    """aiohttp-sse's response with two changes.

    Its pings come from a task of their own; a second writer on a response that waits for a
    slow reader cancels the first (both wait on one shared future), so here they never come.
    And its headers wait for the first frames, to go out in one write with them.
    """

    _send_headers_immediately = False

    async def _ping(self) -> None:
        return


class EventStream:
    """One caller's event stream. Everything is written by the one task that owns it."""

    def __init__(
        self,
        request: web.Request,
        response: EventSourceResponse,
        generation: Generation,
        write_timeout: float,
    ) -> None:
        self._request = request
        self.response = response
        self._generation = generation
        self._write_timeout = write_timeout

    @classmethod
    async def open(
        cls, request: web.Request, generation: Generation, *, write_timeout: float
    ) -> EventStream:
        """Begin the answer; the headers are sent with the first frames.

        write_timeout: seconds that a caller may take no data before it is dropped; the
            kernel drops a vanished one after as many.
        """
        response = _Response(sep="\n", allow_all_methods=True, send_timeout=write_timeout)
        response.headers["Content-Type"] = "text/event-stream; charset=utf-8"
        response.headers["Cache-Control"] = "no-cache, no-transform"
        del response.headers["Connection"]  # aiohttp knows better, for HTTP/1.0 above all
        await response.prepare(request)
        return cls(request, response, generation, write_timeout)

    @property
    def connected(self) -> bool:
        """Whether there is still a connection to the caller."""
        return self._request.transport is not None

    async def write(self, frames: bytes) -> None:
        """Send frames. Raises ConnectionError when the caller is gone or reads no more."""
        await self._send(self.response.write, frames)

    async def _send(self, send: Callable[[bytes], Awaitable[None]], frames: bytes) -> None:
        self._generation.bytes_sent += len(frames)
        transport = self._request.transport
        if transport is None:
            raise ConnectionResetError("the caller is gone")
        if transport.get_write_buffer_size() + len(frames) < _HIGH_WATER:
            await send(frames)  # cannot wait, so needs no limit
            return
        try:
            async with asyncio.timeout(self._write_timeout):
                await send(frames)
        except TimeoutError:
            # At once: an orderly close would wait for ever for the caller to read.
            transport.abort()
            raise ConnectionResetError("the caller does not read") from None

    async def keep_alive(self) -> None:
        """Send a comment, which every decoder skips."""
        await self.write(KEEP_ALIVE)

    async def end(self, frames: bytes) -> None:
        """Send the last frames and end the body."""
        self.response.stop_streaming()
        await self._send(self.response.write_eof, frames)

    def drop(self) -> None:
        """The stream will not be ended: let go of it."""
        self.response.stop_streaming()
