"""Answers every error of a request in the dialect of its route."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NoReturn

import structlog
from aiohttp import HttpVersion10, HttpVersion11, hdrs, web
from multidict import CIMultiDict

from gateway.apis.base import Dialect
from gateway.errors import (
    BodyTooLarge,
    GatewayError,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    word,
)
from gateway.http.error_response import render_error
from gateway.http.in_flight import InFlightRequests
from gateway.http.request_body import EXPECT
from gateway.middleware import RESPONSE_HEADERS, Handler

_log = structlog.get_logger("error_handler")

_STARTED = web.RequestKey("error_handler_started", float)
_PREPARED = web.RequestKey("error_handler_prepared", web.StreamResponse)

_MAX_PATH_PARTS = 8  # parts of a path that a message shows


class ErrorHandler:
    """Runs outside all other middlewares and answers the errors that they raise.

    dialect_of: returns the dialect of a request.
    probes: handlers that are called without the chain, so without a key and a log line.
    """

    def __init__(
        self,
        dialect_of: Callable[[web.Request], Dialect],
        in_flight: InFlightRequests,
        probes: frozenset[Handler],
    ) -> None:
        self._dialect_of = dialect_of
        self._in_flight = in_flight
        self._probes = probes

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.version not in (HttpVersion10, HttpVersion11):
            self._refuse_version(request)
        request[RESPONSE_HEADERS] = CIMultiDict()
        request[_STARTED] = time.monotonic()
        try:
            if EXPECT in request:
                self._check_expectation(request)
            if request.match_info.handler in self._probes:
                return await request.match_info.handler(request)
            with self._in_flight.request():
                return await handler(request)
        except GatewayError as error:
            return self._render(request, error)
        except web.HTTPException as error:
            return self._render(request, from_http_exception(request, error))
        except (asyncio.CancelledError, ConnectionError):
            raise  # the client is gone: no answer can reach it
        except Exception:
            _log.exception("bug")
            return self._render(request, InternalError())

    def _refuse_version(self, request: web.Request) -> NoReturn:
        """Answer in HTTP/1.1 and close; aiohttp would answer in the request's version."""
        error = InvalidRequest("Only HTTP/1.1 and HTTP/1.0 are supported.")
        error.status = 505
        if request.transport is not None:
            rendered = render_error(error, self._dialect_of(request))
            request.transport.write(rendered.as_bytes())
            request.transport.close()
        raise ConnectionResetError("the version of HTTP is not supported")

    async def on_response_prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add the usual headers and those that middlewares set, just before an answer starts."""
        request[_PREPARED] = response
        response.headers["Server"] = "fitten-gateway"
        response.headers.update(request.get(RESPONSE_HEADERS, ()))
        started = request.get(_STARTED)
        if started is not None:
            dialect = self._dialect_of(request)
            dialect.add_headers(response.headers, time.monotonic() - started)
        # After a declined upgrade, aiohttp's parser loses the data that follow the request.
        declined = "Upgrade" in request.headers and not request.can_read_body
        if self._in_flight.closing or declined:
            response.force_close()
            response.headers["Connection"] = "close"

    def _check_expectation(self, request: web.Request) -> None:
        """Refuse unknown expectations and bodies that are too large.

        `100 Continue` is sent later, when the handler reads the body.
        """
        if request[EXPECT].lower() != "100-continue":
            error = InvalidRequest("The only supported value of Expect is 100-continue.")
            error.status = 417
            raise error
        if (request.content_length or 0) > request.client_max_size:
            most = request.client_max_size
            raise BodyTooLarge(f"The body is over the limit of {most} bytes.")

    def _render(self, request: web.Request, error: GatewayError) -> web.StreamResponse:
        started: web.StreamResponse | None = request.get(_PREPARED)
        if started is not None:
            # A second answer would be written into the body of the first one.
            if started.body_length:
                return started  # it was complete before the error
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("an error after the answer began")
        response = render_error(error, self._dialect_of(request)).as_response()
        if not request.content.at_eof() and request.can_read_body:
            response.force_close()  # so that the rest of the body need not be read
        return response


def from_http_exception(request: web.Request, error: web.HTTPException) -> GatewayError:
    """Translate an error of aiohttp's own into one of the gateway's."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = tuple(sorted(error.allowed_methods))
        return MethodNotAllowed(
            f"{_method(request)} is not allowed here; allowed: {', '.join(allowed)}.",
            allowed=allowed,
        )
    if error.status == 404:
        return NotFound(f"Invalid URL ({_method(request)} {_path(request)})")
    if error.status == 413:
        return BodyTooLarge("The body is over the limit.")
    refused: GatewayError = InvalidRequest(f"The request was refused: {error.reason}.")
    refused.status = error.status
    return refused


def _method(request: web.Request) -> str:
    return request.method if request.method in hdrs.METH_ALL else "..."


def _path(request: web.Request) -> str:
    """Show enough of a path to see a wrong base URL, but no key or prompt in it."""
    parts = request.path.split("/", _MAX_PATH_PARTS)
    return "/".join(word(part, longest=24) if part else "" for part in parts)
