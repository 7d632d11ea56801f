"""Answers every error of a request in the dialect of its body, else of its route."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NoReturn

import structlog
from aiohttp import HttpVersion10, HttpVersion11, web
from multidict import CIMultiDict

from gateway.apis.base import Dialect
from gateway.errors import BodyTooLarge, GatewayError, InternalError, InvalidRequest
from gateway.generation.outcome import Outcome
from gateway.http.error_response import from_http_exception, render_error
from gateway.http.in_flight import InFlightRequests
from gateway.http.request_body import EXPECT, OTHER_CODING
from gateway.middleware import OUTCOME, REQUEST_ID, RESPONSE_HEADERS, Handler

_log = structlog.get_logger("error_handler")

_PREPARED = web.RequestKey("error_handler_prepared", web.StreamResponse)


class ErrorHandler:
    """Runs outside all other middlewares and answers the errors that they raise.

    dialect_of: returns the dialect of a request.
    probes: handlers that are called without the chain, so without a key and a log line.
    record: is called with each other request when its outcome is final.
    """

    def __init__(
        self,
        dialect_of: Callable[[web.Request], Dialect],
        in_flight: InFlightRequests,
        probes: frozenset[Handler],
        record: Callable[[web.Request], None] = lambda _: None,
    ) -> None:
        self._dialect_of = dialect_of
        self._in_flight = in_flight
        self._probes = probes
        self._record = record

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.version not in (HttpVersion10, HttpVersion11):
            self._refuse_version(request)
        request[RESPONSE_HEADERS] = CIMultiDict()
        request[OUTCOME] = Outcome()
        try:
            if OTHER_CODING in request:
                self._refuse_coding()
            if EXPECT in request:
                self._check_expectation(request)
            if request.match_info.handler in self._probes:
                return await request.match_info.handler(request)
            with self._in_flight.request():
                try:
                    return await handler(request)
                finally:
                    self._record(request)
        except GatewayError as error:
            return self._render(request, error)
        except web.HTTPException as error:
            return self._render(request, from_http_exception(request, error))
        except (asyncio.CancelledError, ConnectionError):
            raise  # the client is gone: no answer can reach it
        except Exception:
            # `request_id` is inside: its context has ended.
            known = {"request_id": request[REQUEST_ID]} if REQUEST_ID in request else {}
            _log.exception("bug", **known)
            return self._render(request, InternalError())

    def status_of(self, request: web.Request, error: GatewayError) -> int:
        """Return the status with which a client gets an error: that of its dialect."""
        return self._dialect_of(request).status(error)

    def _refuse_version(self, request: web.Request) -> NoReturn:
        """Answer in HTTP/1.1 and close; aiohttp would answer in the request's version."""
        error = InvalidRequest("Only HTTP/1.1 and HTTP/1.0 are supported.")
        error.status = 505
        if request.transport is not None:
            rendered = render_error(error, self._dialect_of(request))
            request.transport.write(rendered.as_bytes())
            request.transport.close()
        raise ConnectionResetError("the version of HTTP is not supported")

    def _refuse_coding(self) -> NoReturn:
        error = InvalidRequest("The only supported Transfer-Encoding is chunked.")
        error.status = 501
        raise error

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
        rendered = render_error(error, self._dialect_of(request), request.get(REQUEST_ID))
        response = rendered.as_response()
        if not request.content.at_eof() and request.can_read_body:
            response.force_close()  # so that the rest of the body need not be read
        return response

    async def on_response_prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add the usual headers and those that middlewares set, just before an answer starts."""
        request[_PREPARED] = response
        response.headers["Server"] = "fitten-gateway"
        response.headers.update(request.get(RESPONSE_HEADERS, ()))
        outcome = request.get(OUTCOME)
        if outcome is not None:
            if outcome.offered is not None:
                response.headers["x-fitten-tools"] = outcome.offered.header()
            dialect = self._dialect_of(request)
            dialect.add_headers(response.headers, time.monotonic() - outcome.started)
            if outcome.squeezed:
                response.headers["x-fitten-squeezed"] = str(outcome.squeezed)
        # After a declined upgrade, aiohttp's parser loses the data that follow the request.
        declined = "Upgrade" in request.headers and not request.can_read_body
        if self._in_flight.closing or declined:
            response.force_close()
            response.headers["Connection"] = "close"
