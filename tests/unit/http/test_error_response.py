"""One place renders errors: for handlers, and for clients that get no request object."""

from __future__ import annotations

import json

import pytest

from gateway.apis.openai.dialect import OpenAIDialect
from gateway.errors import (
    BodyTimeout,
    GatewayError,
    InvalidRequest,
    MethodNotAllowed,
    RateLimited,
    Unauthorized,
    overloaded,
)
from gateway.http.error_response import render_error


@pytest.mark.parametrize(
    ("error", "line", "headers"),
    [
        (
            overloaded(),
            "HTTP/1.1 503 Service Unavailable",
            {"Retry-After": "1", "retry-after-ms": "1000", "x-should-retry": "true"},
        ),
        (BodyTimeout("Slow."), "HTTP/1.1 408 Request Timeout", {"x-should-retry": "true"}),
        (
            RateLimited("Many.", retry_after=2.5),
            "HTTP/1.1 429 Too Many Requests",
            {"Retry-After": "3", "retry-after-ms": "2500", "x-should-retry": "true"},
        ),
        (
            RateLimited("Many.", retry_after=3600.0),
            "HTTP/1.1 429 Too Many Requests",
            {"x-should-retry": "false"},
        ),
        (
            Unauthorized("Who?"),
            "HTTP/1.1 401 Unauthorized",
            {"x-should-retry": "false", "WWW-Authenticate": "Bearer"},
        ),
        (
            MethodNotAllowed("No.", allowed=("GET", "HEAD")),
            "HTTP/1.1 405 Method Not Allowed",
            {"x-should-retry": "false", "Allow": "GET, HEAD"},
        ),
        (InvalidRequest("No."), "HTTP/1.1 400 Bad Request", {"x-should-retry": "false"}),
    ],
    ids=lambda value: value.code if isinstance(value, GatewayError) else None,
)
def test_a_refusal_is_a_whole_answer_with_any_status(
    error: GatewayError, line: str, headers: dict[str, str]
) -> None:
    rendered = render_error(error, OpenAIDialect())
    head, _, body = rendered.as_bytes().partition(b"\r\n\r\n")
    status, *fields = head.decode("ascii").split("\r\n")
    assert status == line
    assert dict(field.split(": ", 1) for field in fields) == {
        "Content-Type": "application/json",
        **headers,
        "Connection": "close",
        "Content-Length": str(len(body)),
    }
    assert json.loads(body)["error"]["message"] == error.message
    response = rendered.as_response()
    assert (response.status, response.body) == (error.status, body)
    assert {name: response.headers[name] for name in headers} == headers


def test_a_status_without_a_name_is_rendered_too() -> None:
    error = InvalidRequest("Odd.")
    error.status = 499
    assert render_error(error, OpenAIDialect()).as_bytes().startswith(b"HTTP/1.1 499 \r\n")
