"""Handles one client connection: time limit for heads, pipelining, refusals, broken HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, cast

import structlog
from aiohttp import web

from gateway.aiohttp_internals import BrokenHttp, ServerConnection
from gateway.errors import BodyTimeout, GatewayError, InternalError, InvalidRequest, overloaded
from gateway.http.error_response import ErrorResponse
from gateway.server.connection_limit import ConnectionLimit

_log = structlog.get_logger("server")

_MIN_IDLE = 1.0  # seconds that a connection must be idle before it may be closed to make room
_MAX_EXAMINED = 64  # connections among which an idle one is searched

# While received bytes wait unread, the kernel does not report that the client disconnected. So a
# pause of reading is checked after this many seconds.
_MAX_PAUSE = 1.0
_LINGER = 1.0  # seconds in which a refused client may read the refusal
_MAX_LINGERING = 32  # refused connections that stay open for that


@dataclass(slots=True)
class ConnectionContext:
    """Holds the settings and counters that all connections share.

    A changed setting applies to later connections and requests.

    render: returns the answer to an error of a request that has no route yet.
    head_timeout: seconds that the head of a request may take.
    send_buffer: bytes that the kernel buffers for a client; None leaves it to the system.
    limit: counts the connections.
    connections: those that are open, the oldest first; without those that were refused.
    refused: transports of refused connections that stay open until the client has read why.
    """

    render: Callable[[GatewayError], ErrorResponse]
    head_timeout: float = 10.0
    send_buffer: int | None = None
    limit: ConnectionLimit = field(default_factory=ConnectionLimit)
    connections: dict[Connection, None] = field(default_factory=dict)
    refused: set[asyncio.Transport] = field(default_factory=set)

    def close(self) -> None:
        """Close the refused connections that are still open."""
        for transport in self.refused:
            transport.abort()
        self.refused.clear()


class Connection(ServerConnection):
    """Extends the connection of aiohttp with limits and with error bodies of the gateway.

    - The head of a request has a time limit, and pipelining is bounded.
    - A connection over the limit gets a 503 answer at once.
    - Broken HTTP gets an error body that quotes nothing of the request and has no traceback.

    idle_since: monotonic time since when it has had no request; None while it has one.
    """

    __slots__ = ("_context", "_head_timer", "_pause_timer", "idle_since")

    def __init__(self, manager: Any, *, context: ConnectionContext, **options: Any) -> None:
        super().__init__(manager, **options)
        self._context = context
        self._head_timer: asyncio.TimerHandle | None = None
        self._pause_timer: asyncio.TimerHandle | None = None
        self.idle_since: float | None = time.monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        context = self._context
        if context.limit.full and not self._close_one_idle():
            self._refuse(cast(asyncio.Transport, transport))
            return
        context.connections[self] = None
        context.limit.connections += 1
        # Not on the listening socket: connections already in its backlog would not inherit it.
        if context.send_buffer is not None:
            sock = transport.get_extra_info("socket")
            with contextlib.suppress(OSError):  # some systems refuse it after a disconnect
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, context.send_buffer)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self in self._context.connections:
            del self._context.connections[self]
            self._context.limit.connections -= 1
        self._stop_head_timer()
        if self._pause_timer is not None:
            self._pause_timer.cancel()
            self._pause_timer = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        waiter, count = self.request_waiter, self.request_count
        web.RequestHandler.data_received(self, data)
        if self.request_count != count:
            if self._head_timer is not None:
                self._stop_head_timer()
            return
        # While a request is handled, these bytes are its body, or come after it.
        awaits_head = not waiter.done() if waiter is not None else not count
        if awaits_head and self._head_timer is None and data.strip(b"\r\n"):
            self._head_timer = asyncio.get_running_loop().call_later(
                self._context.head_timeout, self._on_head_timeout
            )

    def on_reading_paused(self) -> None:
        if self._pause_timer is None:
            loop = asyncio.get_running_loop()
            self._pause_timer = loop.call_later(_MAX_PAUSE, self._on_long_pause)

    def close_if_idle(self, since: float) -> bool:
        """Close the connection if it has been idle since then; return whether it is closed.

        since: a monotonic time.
        """
        if (
            self.idle_since is not None
            and self.idle_since <= since
            and not self.sends_answer  # an answer may be sent after its handler ended
        ):
            # `close` would stop reading, but leave the socket open until `cleanup`.
            self.force_close()
        return self.transport is None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if request.writer.output_size > 0 or isinstance(exc, ConnectionError):
            raise ConnectionError("the answer has begun, or the client disconnected")
        error: GatewayError
        if isinstance(exc, BrokenHttp) or 400 <= status < 500:
            # The text and the traceback of the exception quote headers of the client.
            _log.info("http_broken", reason=type(exc).__name__, status=status)
            error = InvalidRequest("The request is not well-formed HTTP/1.1.")
            error.status = status
        else:
            _log.error("bug", exc_info=exc)
            error = InternalError()
        response = self._context.render(error).as_response()
        response.force_close()
        return response

    def _close_one_idle(self) -> bool:
        """Close one of the oldest idle connections; return whether there was one.

        Otherwise a client that opens enough connections would lock out all others.
        """
        idle_before = time.monotonic() - _MIN_IDLE
        for connection in islice(self._context.connections, _MAX_EXAMINED):
            waiter, since = connection.request_waiter, connection.idle_since
            awaits_request = waiter is not None and not waiter.done()
            if awaits_request and since is not None and since <= idle_before:
                connection.force_close()
                return True
        return False

    def _refuse(self, transport: asyncio.Transport) -> None:
        """Send the refusal without a task, a parser or a log line for each connection."""
        self.close()  # what the client sends is not parsed
        transport.write(self._context.render(overloaded()).as_bytes())
        refused = self._context.refused
        if len(refused) >= _MAX_LINGERING or not transport.can_write_eof():
            transport.close()
            return
        # Closing while a request is unread resets the connection: the refusal could be lost.
        refused.add(transport)
        transport.write_eof()
        asyncio.get_running_loop().call_later(_LINGER, self._end_lingering, transport)

    def _end_lingering(self, transport: asyncio.Transport) -> None:
        self._context.refused.discard(transport)
        transport.abort()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _on_head_timeout(self) -> None:
        self._head_timer = None
        waiter = self.request_waiter
        if waiter is None or waiter.done() or self.transport is None:
            return
        _log.info("head_timeout")
        error = BodyTimeout("The request's head did not arrive in time.")
        self.transport.write(self._context.render(error).as_bytes())
        self.force_close()

    def _on_long_pause(self) -> None:
        self._pause_timer = None
        if self.transport is None or not self.reading_paused:
            return
        if not self.requests_ahead:  # the current request still reads its own body
            self.on_reading_paused()
            return
        _log.info("too_much_sent_ahead", requests=len(self.requests_ahead))
        self.transport.abort()


class HttpServer(web.Server):
    """Creates connections with these options.

    aiohttp's own server leaves options out when they do not suit its connection.
    """

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        request_factory: Callable[..., web.BaseRequest],
        handler_cancellation: bool,
        context: ConnectionContext,
        **options: Any,
    ) -> None:
        super().__init__(
            handler, request_factory=request_factory, handler_cancellation=handler_cancellation
        )
        self._context = context
        self._options = options

    def __call__(self) -> web.RequestHandler:
        loop = asyncio.get_running_loop()
        return Connection(self, context=self._context, loop=loop, **self._options)
