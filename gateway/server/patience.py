"""A connection that bears with its caller only so far: slow heads, requests sent ahead, answers
that are not read, and one connection too many."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass, field
from typing import Any, cast

import structlog
from aiohttp.web_protocol import RequestHandler

from gateway.apis.openai import errors
from gateway.errors import BodyTimeout, GatewayError, overloaded
from gateway.server.connection_limit import Admission

_log = structlog.get_logger("server")

# How long a caller may leave us blind: while more lies before us than we take, the
# kernel does not tell that it left.
_BLIND = 1.0
_LINGER = 1.0  # seconds in which a refused caller may read why
_LINGERERS = 32
_STATUS_LINES = {408: b"408 Request Timeout", 503: b"503 Service Unavailable"}


@dataclass(slots=True)
class Bounds:
    """What connections share. May change at any time, for what comes after.

    head: seconds that a request's head may take.
    send_buffer: bytes that the kernel holds for a caller; the system's own choice when None.
    """

    head: float = 10.0
    send_buffer: int | None = None
    admission: Admission = field(default_factory=Admission)
    refused: set[asyncio.Transport] = field(default_factory=set)

    def end(self) -> None:
        """Close what lingers."""
        for transport in self.refused:
            transport.abort()
        self.refused.clear()


class PatientConnection(RequestHandler):
    """aiohttp's connection with a clock for heads and a limit on what is sent ahead."""

    __slots__ = ("_admitted", "_blind_timer", "_bounds", "_head_timer")

    def __init__(self, manager: Any, *, bounds: Bounds, **options: Any) -> None:
        super().__init__(manager, **options)
        self._bounds = bounds
        self._admitted = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._blind_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        bounds = self._bounds
        if bounds.admission.full and not self.make_room():
            self._turn_away(cast(asyncio.Transport, transport))
            return
        self._admitted = True
        bounds.admission.connections += 1
        # Not on the listening socket: what had waited in its queue would not have inherited it.
        if bounds.send_buffer is not None:
            sock = transport.get_extra_info("socket")
            with contextlib.suppress(OSError):  # some systems refuse it when the caller has left
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, bounds.send_buffer)
        super().connection_made(transport)

    def make_room(self) -> bool:
        """Whether there is a place after all; for subclasses."""
        return False

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._admitted:
            self._admitted = False
            self._bounds.admission.connections -= 1
        self._stop_head_timer()
        if self._blind_timer is not None:
            self._blind_timer.cancel()
            self._blind_timer = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        waiter, count = self._waiter, self._request_count
        RequestHandler.data_received(self, data)
        if self._request_count != count:
            if self._head_timer is not None:
                self._stop_head_timer()
            return
        # Unless a request is under way, and this is its body or what comes after it.
        between = not waiter.done() if waiter is not None else not count
        if between and self._head_timer is None and data.strip(b"\r\n"):
            self._head_timer = self._loop.call_later(self._bounds.head, self._head_is_late)

    def pause_reading(self) -> None:
        super().pause_reading()
        self._watch_blindness()

    def _pause_reading_for_buffer(self) -> None:
        super()._pause_reading_for_buffer()
        self._watch_blindness()

    def _turn_away(self, transport: asyncio.Transport) -> None:
        """Say why, without a task, a parser's work or a log line for each."""
        self._close = True  # what it sends is not looked at
        transport.write(_refusal(overloaded()))
        refused = self._bounds.refused
        if len(refused) >= _LINGERERS or not transport.can_write_eof():
            transport.close()
            return
        # Closing over an unread request resets the connection, and the refusal with it.
        refused.add(transport)
        transport.write_eof()
        self._loop.call_later(_LINGER, self._end_lingering, transport)

    def _end_lingering(self, transport: asyncio.Transport) -> None:
        self._bounds.refused.discard(transport)
        transport.abort()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        waiter = self._waiter
        if waiter is None or waiter.done() or self.transport is None:
            return
        _log.info("head_timeout")
        self.transport.write(_refusal(BodyTimeout("The request's head did not arrive in time.")))
        self.force_close()

    def _watch_blindness(self) -> None:
        if self._blind_timer is None:
            self._blind_timer = self._loop.call_later(_BLIND, self._end_blindness)

    def _end_blindness(self) -> None:
        self._blind_timer = None
        if self.transport is None or not (self._reading_paused or self._buffer_paused):
            return
        if not self._messages:  # the request under way still reads its own body
            self._watch_blindness()
            return
        _log.info("too_much_sent_ahead", requests=len(self._messages))
        self.transport.abort()


def _refusal(error: GatewayError) -> bytes:
    """A whole answer, for those who get no request object."""
    body = errors.error_body(error)
    retry = b"Retry-After: 1\r\n" if error.retry_after else b""
    return (
        b"HTTP/1.1 %b\r\nContent-Type: application/json\r\n%bx-should-retry: true\r\n"
        b"Connection: close\r\nContent-Length: %d\r\n\r\n%b"
        % (_STATUS_LINES[error.status], retry, len(body), body)
    )
