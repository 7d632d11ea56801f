"""Joins middlewares to aiohttp's application and keeps the outcome of each request true."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from gateway.errors import GatewayError, InternalError
from gateway.http.error_handler import ErrorHandler
from gateway.http.error_response import from_http_exception
from gateway.middleware import OUTCOME, Handler, Middleware


def aiohttp_chain(
    error_handler: ErrorHandler,
    middlewares: Iterable[Middleware],
    admission: Middleware = lambda request, handler: handler(request),
) -> list[Any]:
    """Return the chain in the form that aiohttp requires, the error handler outermost.

    admission: comes last, when it is known who sent the request.

    After each middleware, and after the route's handler, the outcome of the request says what
    the client gets so far. So a middleware need not look at the exceptions that pass it.
    """
    return [
        web.middleware(error_handler),
        *(_recorded(middleware, error_handler) for middleware in middlewares),
        _recorded(admission, error_handler),
    ]


def _recorded(middleware: Middleware, error_handler: ErrorHandler) -> Any:
    @web.middleware
    async def wrapper(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await middleware(request, handler)
        except BaseException as error:
            _record_failure(request, error, error_handler)
            raise
        outcome = request[OUTCOME]
        if outcome.status != response.status:
            outcome.complete(response.status, response.content_length)
        return response

    return wrapper


def _record_failure(
    request: web.Request, error: BaseException, error_handler: ErrorHandler
) -> None:
    outcome = request[OUTCOME]
    if isinstance(error, (asyncio.CancelledError, ConnectionError)):
        outcome.lose_client()
    elif isinstance(error, GatewayError):
        outcome.fail(error, status=error_handler.status_of(request, error))
    elif isinstance(error, web.HTTPException):
        outcome.fail(from_http_exception(request, error), end="refused")
    else:
        outcome.fail(InternalError())
