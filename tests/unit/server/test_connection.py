"""A refused connection gets a whole answer, whatever the error."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web

from gateway.apis.openai.errors import error_body
from gateway.errors import BodyTimeout, GatewayError, InvalidRequest, RateLimited, overloaded
from gateway.server.connection import Connection, ConnectionContext


@pytest.mark.parametrize(
    ("error", "line", "retry_after"),
    [
        (overloaded(), "HTTP/1.1 503 Service Unavailable", "1"),
        (BodyTimeout("Too slow."), "HTTP/1.1 408 Request Timeout", None),
        (RateLimited("Too many.", retry_after=3.0), "HTTP/1.1 429 Too Many Requests", "1"),
        (InvalidRequest("Not so."), "HTTP/1.1 400 Bad Request", None),
    ],
    ids=lambda value: value.code if isinstance(value, GatewayError) else None,
)
async def test_a_refusal_is_an_answer_with_any_status(
    error: GatewayError, line: str, retry_after: str | None
) -> None:
    async def handle(_: web.BaseRequest) -> web.StreamResponse:
        raise AssertionError("nothing is handled here")

    context = ConnectionContext(error_body)
    manager = web.Server(handle)
    connection = Connection(manager, context=context, loop=asyncio.get_running_loop())
    head, _, body = connection._refusal(error).partition(b"\r\n\r\n")
    status, *headers = head.decode("ascii").split("\r\n")
    assert status == line
    fields = dict(header.split(": ", 1) for header in headers)
    assert fields.get("Retry-After") == retry_after
    assert int(fields["Content-Length"]) == len(body)
    assert json.loads(body)["error"]["message"] == error.message
    connection.force_close()
