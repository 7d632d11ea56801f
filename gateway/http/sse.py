"""Writes encoded frames to one client as a stream, with time limits and keep-alives.

A frame is an event, or a line of JSON where the dialect streams lines.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp_sse import EventSourceResponse

from gateway.aiohttp_internals import HeadersWithFirstWrite
from gateway.apis.base import ResponseEncoder
from gateway.config.settings import StreamSettings
from gateway.generation.pieces import Piece, merge

# Line ends for readers such as `str.splitlines` of Python and `iter_lines` of httpx. They would
# split a frame. JSON escapes all other characters that such readers take for line ends.
_LINE_ENDS = tuple(
    (character.encode(), b"\\u%04x" % ord(character)) for character in "\u2028\u2029\x85"
)

# With more bytes in its buffer, a transport lets writes wait. It is asyncio's default.
_HIGH_WATER = 64 * 1024

# With more bytes in the buffer, the client reads too slowly, and the limit above becomes this. It
# is low because uvloop takes 1 KB for each write that waits, also for one of a short piece.
_LOW_LIMIT = 8 * 1024

# Pieces that came together and make more frames than these are sent as one. A frame is ten times
# as large as a short piece, so this bounds what waits for a client that does not read.
_MOST_FRAMES = 256


class _EventStreamResponse(HeadersWithFirstWrite, EventSourceResponse):
    """Sends a stream as aiohttp-sse does, but without its pings.

    Each stream would have a task that writes the pings. When two tasks write to a client that
    reads slowly, both wait on one shared future, and the second cancels the first. The
    original `prepare` also sets TCP_USER_TIMEOUT; `server/` does that for all connections.
    """

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        return await web.StreamResponse.prepare(self, request)


class EventStream:
    """Sends one answer as an event stream; the first write starts it. A `Sink`.

    The data of all frames are JSON. U+2028, U+2029 and U+0085 leave escaped, in any dialect.

    bytes_sent: bytes of the body so far.
    """

    def __init__(
        self, request: web.Request, encoder: ResponseEncoder, settings: StreamSettings
    ) -> None:
        self._request = request
        self._encoder = encoder
        self._encode = encoder.pieces
        self._write_timeout = settings.write_timeout
        self.grace, self.interval = settings.grace, settings.keep_alive
        self._begin: bytes | None = None  # the first frames, until they are sent
        self._last = b""  # frames that are sent in one write with the end or the error
        self._response: web.StreamResponse | None = None
        self._writer: AbstractStreamWriter | None = None
        self._slow = False  # whether the client has read too slowly
        self._chunked = False  # true once the answer has begun and is chunked
        # Pieces and keep-alives come from different tasks; never two writes at once.
        self._writing = asyncio.Lock()
        self.bytes_sent = 0

    @property
    def begun(self) -> bool:
        """Return whether the answer has begun, so that its status can no longer change."""
        return self._response is not None

    @property
    def holds(self) -> bool:
        """Return whether frames wait for the end."""
        return bool(self._last)

    @property
    def connected(self) -> bool:
        """Return whether the client is still connected."""
        return self._request.transport is not None

    def take(self, batch: Sequence[Piece]) -> bool:
        """Write a batch to the transport at once; see `Sink`.

        Return False before the answer has begun, and while the client reads too slowly.
        """
        if len(batch) > _MOST_FRAMES:
            batch = merge(batch)
        return self._is_ready() and self._write_now(self._encode(batch))

    async def put(self, batch: Sequence[Piece]) -> None:
        """Write a batch; see `Sink`."""
        if len(batch) > _MOST_FRAMES:
            batch = merge(batch)
        if self._begin is None:
            self._start()
        await self._write(self._encode(batch))

    def hold(self, batch: Sequence[Piece]) -> None:
        """Keep a batch for the last write; see `Sink`."""
        if self._begin is None:
            self._start()
        self._last += self._encode(batch)

    async def keep_alive(self) -> None:
        """Send a frame of the dialect without meaning."""
        if self._begin is None:
            self._start()
        await self._write(self._encoder.keep_alive())

    async def end(self, last_frames: Callable[[], bytes]) -> web.StreamResponse:
        """Send what is held and the last frames, and return the response."""
        async with self._writing:
            if self._begin is None:
                self._start()
            response = self._response or await self._open()
            frames = (self._begin or b"") + self._last + last_frames()
            await self._send(response.write_eof, frames)
            if self._slow and (transport := self._request.transport) is not None:
                transport.set_write_buffer_limits(high=_HIGH_WATER)  # for the next request
            return response

    def _start(self) -> None:
        """Encode the first frames, before all others."""
        self._begin = self._encoder.begin()

    async def _write(self, frames: bytes) -> None:
        """Send frames. Raises ConnectionError when the client is gone or stopped reading."""
        if self._is_ready() and self._write_now(frames):
            return
        async with self._writing:
            response = self._response or await self._open()
            frames, self._begin = (self._begin or b"") + frames, b""
            await self._send(response.write, frames)

    def _is_ready(self) -> bool:
        """Return whether the answer has begun and the client reads fast enough."""
        transport = self._request.transport
        return (
            self._chunked
            and transport is not None
            and not transport.is_closing()
            and transport.get_write_buffer_size() < _LOW_LIMIT
            and not self._writing.locked()
        )

    def _write_now(self, frames: bytes) -> bool:
        """Write one chunk (RFC 9112, 7.1) to the transport; call it only when ready.

        Return False when the client is gone. aiohttp needs four more calls for the same,
        a sixth of the cost of a piece that comes alone.
        """
        transport = self._request.transport
        if transport is None:
            return False
        if not frames:
            return True  # an empty chunk would be the end of the body
        # Each of the three characters has one of these bytes. A search takes 15 ns and no call.
        if 0xE2 in frames or 0xC2 in frames:
            frames = _escape_line_ends(frames)
        size = len(frames)
        transport.write(b"%x\r\n%b\r\n" % (size, frames))
        self.bytes_sent += size
        return True

    async def _open(self) -> web.StreamResponse:
        self._response = response = _EventStreamResponse(sep="\n", allow_all_methods=True)
        response.headers["Content-Type"] = self._encoder.media_type
        response.headers["Cache-Control"] = "no-cache, no-transform"
        del response.headers["Connection"]  # aiohttp sets it, above all for HTTP/1.0
        chunked = self._request.version == HttpVersion11
        if not chunked:
            # Only the end of the connection ends the stream then, whatever the client asked for
            # (RFC 9112, 6.3). aiohttp would keep the connection.
            response.force_close()
        self._writer = await response.prepare(self._request)
        self._chunked = chunked
        return response

    async def _send(self, send: Callable[[bytes], Awaitable[None]], frames: bytes) -> None:
        if 0xE2 in frames or 0xC2 in frames:  # as in `_write_now`
            frames = _escape_line_ends(frames)
        size = len(frames)
        self.bytes_sent += size
        transport = self._request.transport
        if transport is None:
            raise ConnectionResetError("the client is gone")
        waiting = transport.get_write_buffer_size()
        if waiting >= _LOW_LIMIT and not self._slow:
            self._slow = True
            transport.set_write_buffer_limits(high=_LOW_LIMIT)
        if not self._slow and waiting + size < _HIGH_WATER:
            await send(frames)  # never waits, so it needs no time limit
            return
        try:
            async with asyncio.timeout(self._write_timeout):
                await send(frames)
                if self._writer is not None:
                    await self._writer.drain()  # aiohttp itself waits only after 64 KB
        except TimeoutError:
            # Not `close`: it would wait for the client to read, without end.
            transport.abort()
            raise ConnectionResetError("the client does not read") from None


def _escape_line_ends(frames: bytes) -> bytes:
    """Return the frames with the characters of `_LINE_ENDS` as JSON escapes.

    In UTF-8 no part of another character has the same bytes.
    """
    for character, escaped in _LINE_ENDS:
        frames = frames.replace(character, escaped)
    return frames
