"""Gives every request an id, in the answer's header and in each of its log lines."""

from __future__ import annotations

import os
import re
from typing import Annotated

import structlog
from aiohttp import web

from gateway import KEY_CHECKS, REQUEST_ID, RESPONSE_HEADERS, Handler, is_request_id

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2


class _HeaderName:
    """Requires a name that a header may have."""

    def fault(self, value: str) -> str | None:
        if _TOKEN.fullmatch(value):
            return None
        return "is not the name of a header: letters, digits and '-', such as x-request-id"


class request_id:
    """Accepts the `x-request-id` of the client when it is well-formed, else generates one.

    A key that a client sends as the id is not accepted, since the log has the id.

    header: the header's name, in requests and answers.
    """

    def __init__(self, *, header: Annotated[str, _HeaderName()] = "x-request-id") -> None:
        self._header = header

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get(self._header, "")
        accepted = given and is_request_id(given) and not _is_key(given, request)
        name = given if accepted else f"req_{os.urandom(16).hex()}"
        request[REQUEST_ID] = name
        request[RESPONSE_HEADERS][self._header] = name
        bound = structlog.contextvars.bind_contextvars(request_id=name)
        try:
            return await handler(request)
        finally:
            structlog.contextvars.reset_contextvars(**bound)


def _is_key(name: str, request: web.Request) -> bool:
    """Return whether a text is a key of this gateway, or the one that the client sent as such."""
    headers = request.headers
    sent = headers.get("Authorization", "").rpartition(" ")[2].strip()
    if name in (sent, headers.get("x-api-key"), headers.get("api-key")):
        return True
    return any(is_key(name) for is_key in request.app.get(KEY_CHECKS, ()))
