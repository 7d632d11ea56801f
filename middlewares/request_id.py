"""Gives every request an id, in the answer's header and in each of its log lines."""

from __future__ import annotations

import os

import structlog
from aiohttp import web

from gateway import REQUEST_ID, RESPONSE_HEADERS, Handler, is_request_id


class request_id:
    """Accepts the `x-request-id` of the client when it is well-formed, else generates one.

    header: the header's name, in requests and answers.
    """

    def __init__(self, *, header: str = "x-request-id") -> None:
        self._header = header

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get(self._header, "")
        name = given if given and is_request_id(given) else f"req_{os.urandom(16).hex()}"
        request[REQUEST_ID] = name
        request[RESPONSE_HEADERS][self._header] = name
        bound = structlog.contextvars.bind_contextvars(request_id=name)
        try:
            return await handler(request)
        finally:
            structlog.contextvars.reset_contextvars(**bound)
