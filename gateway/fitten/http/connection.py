"""One request and its answer on a connection of the shared session's pool.

ClientSession's own road costs a small request a third of all its time: an object for each
header, a task, a parser that wakes a reader for each chunk. Here the session still makes,
checks and keeps the connections; for the time of one exchange this protocol sits on one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp
from aiohttp.connector import Connection

from gateway.fitten.http.response_parser import BadResponse, ResponseParser

_HIGH_WATER = 128 * 1024  # bytes that wait for a reader before the upstream has to


class ChatConnection(asyncio.Protocol):
    """A response while it arrives; `await exchange.start(...)` first, `close()` in the end.

    tap: what is offered data in the moment it comes, as long as a reader waits for it. It
        takes the data in any case; False wakes the reader, because there is something to see.
    """

    def __init__(self, connection: Connection) -> None:
        protocol, transport = connection.protocol, connection.transport
        if protocol is None or transport is None:
            connection.close()
            raise aiohttp.ServerDisconnectedError
        self._connection: Connection | None = connection
        self._owner = protocol
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._parser = ResponseParser()
        self._data: list[bytes] = []
        self._size = 0
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self.tap: Callable[[bytes], bool] | None = None
        transport.set_protocol(self)

    async def start(self, head: bytes, body: bytes, limit: float) -> None:
        """Send the request; returns when the response's headers are there.

        limit: seconds. Raises aiohttp.ClientError when the connection fails, TimeoutError.
        """
        timer = self._loop.call_later(limit, self.fail, TimeoutError())
        try:
            self._transport.writelines((head, body))
            while self._parser.status is None:
                if self._error is not None:
                    raise self._error
                await self._wait()
        finally:
            timer.cancel()

    @property
    def status(self) -> int:
        """The response's status; 0 before it is there."""
        return self._parser.status or 0

    @property
    def framed(self) -> bool:
        """Whether the end of the body was announced (RFC 9112, 6.3)."""
        return self._parser.framed

    def header(self, name: str) -> str:
        """A header's value, "" when it is absent."""
        return self._parser.headers.get(name.lower().encode(), b"").decode("latin-1")

    def at_end(self) -> bool:
        """Whether all of the body has been read."""
        return self._parser.complete and not self._data and self._error is None

    async def read(self) -> bytes:
        """All that has arrived, after waiting for the first of it.

        b"" at the end, and when the tap had the reader woken. Raises aiohttp.ClientError
        when the connection fails, or what `fail` was given.
        """
        if not self._data and self._error is None and not self._parser.complete:
            await self._wait()
        if self._data:
            data = b"".join(self._data) if len(self._data) > 1 else self._data[0]
            self._data.clear()
            self._size = 0
            if self._paused:
                self._paused = False
                if self._connection is not None:
                    self._transport.resume_reading()
            return data
        if self._error is not None:
            raise self._error
        return b""

    def fail(self, error: Exception) -> None:
        """Have the reader see this error."""
        self._error = self._error or error
        self._wake()

    def close(self) -> None:
        """Give the connection back, or close it when the response is not at its end."""
        self.tap = None
        connection, self._connection = self._connection, None
        if connection is None:
            return
        self._transport.set_protocol(self._owner)
        if self._parser.complete and self._parser.reusable and self._error is None:
            if self._paused:
                self._transport.resume_reading()
            connection.release()
            return
        if self._transport.get_write_buffer_size():
            self._transport.abort()  # an orderly close would wait for the upstream to read
        connection.close()

    def data_received(self, data: bytes) -> None:
        parser = self._parser
        try:
            body = parser.feed(data)
            if body and self.tap and self._reader_waits() and not parser.complete:
                if not self.tap(body):
                    self._wake()
                return
        except BadResponse as error:
            self._broken(aiohttp.ClientPayloadError(f"the upstream sent {error}"))
            return
        except Exception as error:  # whatever it is, it must reach the reader, not the loop
            self._broken(error)
            return
        if body:
            self._data.append(body)
            self._size += len(body)
            if self._size >= _HIGH_WATER and not self._paused and not parser.complete:
                self._paused = True
                self._transport.pause_reading()
        if parser.complete:
            if parser.cut_short:
                self._error = aiohttp.ClientPayloadError("a compressed body without an end")
            self.close()  # what has been read needs the connection no longer
        if body or parser.status is not None:
            self._wake()

    def connection_lost(self, exc: BaseException | None) -> None:
        if not (exc is None and self._parser.feed_eof()) and self._error is None:
            if self._parser.status is not None:
                self._error = aiohttp.ClientPayloadError("the body broke off")
            elif isinstance(exc, OSError):
                self._error = aiohttp.ClientOSError(*exc.args)
            else:
                self._error = aiohttp.ServerDisconnectedError()
        self.tap = None
        connection, self._connection = self._connection, None
        self._owner.connection_lost(exc)
        if connection is not None:
            connection.close()
        self._wake()

    def _broken(self, error: Exception) -> None:
        self._error = self._error or error
        self.close()
        self._wake()

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _reader_waits(self) -> bool:
        return self._waiter is not None and not self._waiter.done()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
