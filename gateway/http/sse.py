"""The stream writer: ready frames to one caller, with time limits and keep-alives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp_sse import EventSourceResponse

from gateway.generation.outcome import Generation

# Comments are safe for every known decoder as long as no `id:` was ever sent.
KEEP_ALIVE = b": keep-alive\n\n"

# A transport's default mark, in bytes, beyond which a write waits for the reader.
_HIGH_WATER = 64 * 1024


class _EventStreamResponse(EventSourceResponse):
    """aiohttp-sse's response without its pings.

    They come from a task of their own for each stream; a second writer on a response that
    waits for a slow reader cancels the first, since both wait on one shared future. What
    else its `prepare` does, `server` does once for all connections. The headers wait for
    the first frames, to leave in one write with them.
    """

    _send_headers_immediately = False

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        return await web.StreamResponse.prepare(self, request)


class EventStream:
    """One caller's event stream, begun by the first thing that is sent.

    begin: frames that go before all others.
    write_timeout: seconds that a caller may take no data before it is dropped.
    """

    def __init__(
        self, request: web.Request, generation: Generation, *, begin: bytes, write_timeout: float
    ) -> None:
        self._request = request
        self._generation = generation
        self._begin = begin
        self._write_timeout = write_timeout
        self._response: web.StreamResponse | None = None
        self._chunked = False  # and begun
        # Pieces and signs of silence come from different tasks; never two writes at once.
        self._writing = asyncio.Lock()

    @property
    def begun(self) -> bool:
        """Whether anything was sent, so that an error can have no status of its own."""
        return self._response is not None

    @property
    def connected(self) -> bool:
        """Whether there is still a connection to the caller."""
        return self._request.transport is not None

    @property
    def ready(self) -> bool:
        """Whether frames can go out in this moment: begun, and the caller keeps pace."""
        transport = self._request.transport
        return (
            self._chunked
            and transport is not None
            and not transport.is_closing()
            and transport.get_write_buffer_size() < _HIGH_WATER
            and not self._writing.locked()
        )

    def write_now(self, frames: bytes) -> bool:
        """Hand a chunk (RFC 9112, 7.1) to the transport itself, when `ready`.

        It is what aiohttp does in four calls more, a sixth of the cost of a paced piece.
        """
        transport = self._request.transport
        if transport is None:
            return False
        transport.write(b"%x\r\n%b\r\n" % (len(frames), frames))
        self._generation.bytes_sent += len(frames)
        return True

    async def write(self, frames: bytes) -> None:
        """Send frames. Raises ConnectionError when the caller is gone or reads no more."""
        if self.ready and self.write_now(frames):
            return
        async with self._writing:
            response = self._response or await self._open()
            frames, self._begin = self._begin + frames, b""
            await self._send(response.write, frames)

    async def keep_alive(self) -> None:
        """Send a comment, which every decoder skips."""
        await self.write(KEEP_ALIVE)

    async def end(self, frames: bytes) -> web.StreamResponse:
        """Send the last frames, end the body and return the response."""
        async with self._writing:
            response = self._response or await self._open()
            await self._send(response.write_eof, self._begin + frames)
            return response

    async def _open(self) -> web.StreamResponse:
        self._response = response = _EventStreamResponse(sep="\n", allow_all_methods=True)
        response.headers["Content-Type"] = "text/event-stream; charset=utf-8"
        response.headers["Cache-Control"] = "no-cache, no-transform"
        del response.headers["Connection"]  # aiohttp knows better, for HTTP/1.0 above all
        await response.prepare(self._request)
        self._chunked = self._request.version == HttpVersion11
        return response

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
