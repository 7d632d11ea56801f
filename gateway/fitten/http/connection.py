"""Sends one request on a pooled connection and receives its response.

ClientSession.request takes a third of the time of a small request: it makes an object for each
header and a task, and its parser wakes the reader for each chunk. Here the session still opens,
checks and pools the connections. During one exchange this protocol replaces aiohttp's protocol
on the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp

from gateway.aiohttp_internals import PooledConnection
from gateway.fitten.http.response_body import MAX_READ
from gateway.fitten.http.response_parser import BadResponse, ResponseParser

_HIGH_WATER = MAX_READ  # unread bytes at which the transport stops reading


class ChatConnection(asyncio.BufferedProtocol):
    """Receives a response; call `await exchange.start(...)` first and `close()` at the end.

    connection: on which to send the request.
    buffer: memory of MAX_READ bytes to receive into. All connections of a loop may share it.
    take: called at once with data of the body that arrives while a reader waits in `read`. It
        takes the data, so `read` does not return them, and it may call `wake`.
    """

    def __init__(self, connection: PooledConnection, buffer: memoryview) -> None:
        protocol, transport = connection.protocol, connection.transport
        if protocol is None or transport is None:
            connection.close()
            raise aiohttp.ServerDisconnectedError
        self._connection: PooledConnection | None = connection
        self._owner = protocol
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._parser = ResponseParser()
        self._buffer = buffer
        self._unread = bytearray()
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self.take: Callable[[bytes], None] | None = None
        transport.set_protocol(self)

    async def start(self, head: bytes, body: bytes) -> None:
        """Send the request; return when the headers of the response have arrived.

        Raises aiohttp.ClientError when the connection fails.
        """
        self._transport.writelines((head, body))
        while self._parser.status is None:
            if self._error is not None:
                raise self._error
            await self._wait()

    @property
    def status(self) -> int:
        """Return the status of the response; 0 before it has arrived."""
        return self._parser.status or 0

    @property
    def framed(self) -> bool:
        """Return whether the body has a length or is chunked (RFC 9112, 6.3)."""
        return self._parser.framed

    def header(self, name: str) -> str:
        """Return the value of a header; "" when it is absent."""
        return self._parser.headers.get(name.lower().encode(), b"").decode("latin-1")

    def at_end(self) -> bool:
        """Return whether all of the body has arrived and has been read."""
        return self._parser.complete and not self._unread and self._error is None

    async def read(self) -> bytes:
        """Return data that have arrived, at most MAX_READ bytes; wait if there are none.

        Returns b"" at the end, and after `wake`. Raises aiohttp.ClientError
        when the connection fails, or the error that `fail` was called with.
        """
        unread = self._unread
        if not unread and self._error is None and not self._parser.complete:
            await self._wait()
        if unread:
            data = bytes(unread[:MAX_READ])
            del unread[:MAX_READ]
            if self._paused and len(unread) < _HIGH_WATER:
                self._paused = False
                if self._connection is not None:
                    self._transport.resume_reading()
            return data
        if self._error is not None:
            raise self._error
        return b""

    def fail(self, error: Exception) -> None:
        """Make `read` raise this error, unless an earlier one is set."""
        self._error = self._error or error
        self.wake()

    def wake(self) -> None:
        """Make a waiting `read` return."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """Return the connection to the pool; close it instead if the response is not complete."""
        self.take = None
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
            self._transport.abort()  # a normal close would wait until Fitten has read all
        connection.close()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        parser = self._parser
        try:
            body = parser.feed(self._buffer[:nbytes].tobytes())
            waiter = self._waiter
            if body and self.take and waiter and not waiter.done() and not parser.complete:
                self.take(body)
                return
        except BadResponse as error:
            self._fail_and_close(aiohttp.ClientPayloadError(f"the upstream sent {error}"))
            return
        except Exception as error:  # any error must reach the reader, not the event loop
            self._fail_and_close(error)
            return
        if body:
            self._unread += body
            if len(self._unread) >= _HIGH_WATER and not self._paused and not parser.complete:
                self._paused = True
                self._transport.pause_reading()
        if parser.complete:
            if parser.cut_short:
                self._error = aiohttp.ClientPayloadError("a compressed body without an end")
            self.close()  # the body is in memory, so the connection is free
        if body or parser.status is not None:
            self.wake()

    def connection_lost(self, exc: BaseException | None) -> None:
        if not (exc is None and self._parser.feed_eof()) and self._error is None:
            if self._parser.status is not None:
                self._error = aiohttp.ClientPayloadError("the body broke off")
            elif isinstance(exc, OSError):
                self._error = aiohttp.ClientOSError(*exc.args)
            else:
                self._error = aiohttp.ServerDisconnectedError()
        self.take = None
        connection, self._connection = self._connection, None
        self._owner.connection_lost(exc)
        if connection is not None:
            connection.close()
        self.wake()

    def _fail_and_close(self, error: Exception) -> None:
        self._error = self._error or error
        self.close()
        self.wake()

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
