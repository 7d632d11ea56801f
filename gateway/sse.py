"""The stream writer: ready frames to one caller, with time limits and keep-alives."""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp_sse import EventSourceResponse

from gateway.generation import Generation

# Comments are safe for every known decoder as long as no `id:` was ever sent.
KEEP_ALIVE = b": keep-alive\n\n"

# aiohttp-sse pings from a task of its own; a second writer on a response that waits for a
# slow reader cancels the first (both wait on one shared future), so its pings never come.
_NEVER = 10.0 * 365 * 86_400


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
        """Send the headers.

        write_timeout: seconds that a caller may take no data before it is dropped; the
            kernel drops a vanished one after as many.
        """
        response = EventSourceResponse(
            sep="\n", allow_all_methods=True, send_timeout=write_timeout, ping_interval=_NEVER
        )
        response.headers["Content-Type"] = "text/event-stream; charset=utf-8"
        response.headers["Cache-Control"] = "no-cache, no-transform"
        del response.headers["Connection"]  # aiohttp knows better, for HTTP/1.0 above all
        await response.prepare(request)
        return cls(request, response, generation, write_timeout)

    async def write(self, frames: bytes) -> None:
        """Send frames. Raises ConnectionError when the caller is gone or reads no more."""
        try:
            async with asyncio.timeout(self._write_timeout):
                await self.response.write(frames)
        except TimeoutError:
            self._abort()
            raise ConnectionResetError("the caller does not read") from None
        self._generation.bytes_sent += len(frames)

    async def keep_alive(self) -> None:
        """Send a comment, which every decoder skips."""
        await self.write(KEEP_ALIVE)

    async def end(self, frames: bytes) -> None:
        """Send the last frames and end the body."""
        await self.write(frames)
        self.response.stop_streaming()
        await self.response.write_eof()

    def drop(self) -> None:
        """The stream will not be ended: let go of it."""
        self.response.stop_streaming()

    def _abort(self) -> None:
        """Close at once: an orderly close would wait for ever for the caller to read."""
        if self._request.transport is not None:
            self._request.transport.abort()
