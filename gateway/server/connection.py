"""A caller's connection, as the door has it: answers broken HTTP, leaves when it is idle."""

from __future__ import annotations

import time
from itertools import islice
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from gateway.apis.openai import errors
from gateway.errors import GatewayError, InternalError, InvalidRequest
from gateway.server.patience import PatientConnection

_log = structlog.get_logger("server")

_FAIR = 1.0  # seconds that an idle connection stays at least
_GLANCES = 64  # at connections, among which one may be idle


class Connection(PatientConnection):
    """A connection whose answer to broken HTTP is ours: JSON, no echo, no traceback.

    It knows since when (monotonic) it has been at no request; None while it is at one.
    """

    __slots__ = ("idle_since",)

    def __init__(self, manager: web.Server, **options: Any) -> None:
        super().__init__(manager, **options)
        self.idle_since: float | None = time.monotonic()

    def leave(self, idle_before: float) -> bool:
        """Whether it is gone, which it is made if it was idle so early already."""
        if (
            self.idle_since is not None
            and self.idle_since <= idle_before
            and not self._request_in_progress  # an answer may take longer than its handler
        ):
            # Not `close`: that leaves the socket open and deaf until `cleanup`.
            self.force_close()
        return self._force_close

    def make_room(self) -> bool:
        """Close a connection that just waits, one of the oldest; whether there was one.

        Else whoever opens enough connections would shut everybody else out.
        """
        assert self._manager is not None
        idle_before = time.monotonic() - _FAIR
        for connection in islice(self._manager._connections, _GLANCES):
            assert isinstance(connection, Connection)
            waiter, since = connection._waiter, connection.idle_since
            waits = waiter is not None and not waiter.done()
            if waits and since is not None and since <= idle_before:
                connection.force_close()
                return True
        return False

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if request.writer.output_size > 0 or isinstance(exc, ConnectionError):
            raise ConnectionError("an answer has begun, or nobody waits for it")
        error: GatewayError
        if isinstance(exc, HttpProcessingError) or 400 <= status < 500:
            # Neither its text nor its traceback: they quote the caller's headers.
            _log.info("http_broken", reason=type(exc).__name__, status=status)
            error = InvalidRequest("The request is not well-formed HTTP/1.1.")
            error.status = status
        else:
            _log.error("bug", exc_info=exc)
            error = InternalError()
        response = web.Response(
            status=error.status, body=errors.error_body(error), content_type="application/json"
        )
        response.force_close()
        return response


class Connections(web.Server):
    """aiohttp's maker of connections; unlike it, ours never drops settings it does not know."""

    def __call__(self) -> RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)
