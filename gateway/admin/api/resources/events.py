"""Sends the state of the gateway each second, as an event stream, while the session lasts."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from aiohttp import web

from gateway.admin.api.call import AdminCall
from gateway.errors import GatewayError, RateLimited
from gateway.http.in_flight import InFlightRequests

MOST_OF_SESSION = 5
"""How many streams a session may have, or an admin key without one."""

_INTERVAL = 1.0  # seconds
_WRITE_TIMEOUT = 10.0  # seconds that a client may take to read an event
# Proxies must neither keep nor buffer it.
_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}


class EventStreams:
    """Counts the open streams of each session, and ends all of them when the gateway stops."""

    def __init__(self, in_flight: InFlightRequests) -> None:
        self._in_flight = in_flight
        self._open: Counter[object] = Counter()

    @property
    def closing(self) -> bool:
        """Return whether the gateway stops, so that streams end."""
        return self._in_flight.closing

    @contextmanager
    def counted(self, session: object) -> Iterator[None]:
        """Count a stream while the context lasts. Raises RateLimited if there are too many."""
        if self._open[session] >= MOST_OF_SESSION:
            raise RateLimited(
                f"This session has {MOST_OF_SESSION} event streams; close one of them.",
                code="concurrency_limit_exceeded",
                retryable=False,
            )
        self._open[session] += 1
        try:
            yield
        finally:
            self._open[session] -= 1
            if not self._open[session]:
                del self._open[session]


async def send_events(call: AdminCall) -> web.StreamResponse:
    """Send an event `status` now and each second; see `NodeStatus` for its data.

    The stream ends with the session: after a logout, and when the admin key is blocked, expires
    or gets a lower role.
    """
    caller = call.caller
    with call.events.counted(caller.session or caller.key_id or caller.name):
        response = web.StreamResponse(headers=_HEADERS)
        await response.prepare(call.http)
        while not call.events.closing:
            event = b"event: status\ndata: %b\n\n" % msgspec.json.encode(call.node.status())
            if not await _write(response, call.http, event):
                break
            await asyncio.sleep(_INTERVAL)
            try:
                await call.recheck()
            except GatewayError as error:
                goodbye = msgspec.json.encode({"code": error.code, "message": error.message})
                await _write(response, call.http, b"event: end\ndata: %b\n\n" % goodbye)
                break
        return response


async def _write(response: web.StreamResponse, request: web.Request, event: bytes) -> bool:
    """Send an event; return whether the client has read enough of the former ones."""
    try:
        async with asyncio.timeout(_WRITE_TIMEOUT):
            await response.write(event)
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()  # else the end of the answer would wait, too
        return False
    return True
