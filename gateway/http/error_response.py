"""Renders errors as answers: the one place that decides status, headers and body.

The error handler, refused connections, broken HTTP and refused versions all use it. In a stream
that has begun, an error is a frame, which the endpoint's encoder renders.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import responses

from aiohttp import web

from gateway.apis.base import Dialect
from gateway.errors import (
    BodyTooLarge,
    GatewayError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
)
from gateway.http.absent_routes import WHAT_THERE_IS, absent_family
from gateway.redaction import shown_method, shown_path


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """Holds an error's answer in a dialect, not yet sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def as_response(self) -> web.Response:
        """Return it for a handler to return."""
        return web.Response(
            status=self.status,
            headers=self.headers,
            body=self.body,
            content_type="application/json",
        )

    def as_bytes(self) -> bytes:
        """Return a whole HTTP/1.1 answer that closes the connection.

        It is for clients that get no request object, so aiohttp cannot answer them.
        """
        lines = [
            f"HTTP/1.1 {self.status} {responses.get(self.status, '')}",
            "Content-Type: application/json",
            *(f"{name}: {value}" for name, value in self.headers.items()),
            "Connection: close",
            f"Content-Length: {len(self.body)}",
        ]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


def render_error(
    error: GatewayError, dialect: Dialect, request_id: str | None = None
) -> ErrorResponse:
    """Return the answer to an error: status and body are the dialect's, most headers are common.

    request_id: the request's, if it has one.
    """
    headers: dict[str, str] = {}
    wait = None if error.is_final else dialect.retry_after(error)
    if wait is not None:
        headers["Retry-After"] = str(max(1, math.ceil(wait)))
        headers["retry-after-ms"] = str(math.ceil(wait * 1000))
    headers["x-should-retry"] = "false" if error.is_final else "true"
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = ", ".join(error.allowed)
    return ErrorResponse(dialect.status(error), headers, dialect.error_body(error, request_id))


def from_http_exception(request: web.Request, error: web.HTTPException) -> GatewayError:
    """Translate an error of aiohttp's own into one of the gateway's."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = tuple(sorted(error.allowed_methods))
        return MethodNotAllowed(
            f"{shown_method(request.method)} is not allowed here; allowed: {', '.join(allowed)}.",
            allowed=allowed,
        )
    if error.status == 404:
        url = f"Invalid URL ({shown_method(request.method)} {shown_path(request.path)})"
        absent = absent_family(request.path) is not None
        return NotFound(f"{url}: {WHAT_THERE_IS}" if absent else url)
    if error.status == 413:
        return BodyTooLarge("The body is over the limit.")
    refused: GatewayError = InvalidRequest(f"The request was refused: {error.reason}.")
    refused.status = error.status
    return refused
