"""Errors in dialects that have no routes here."""

from __future__ import annotations

import json

import pytest

from gateway.apis.absent_dialects import AnthropicErrors, OllamaErrors
from gateway.errors import (
    BodyTooLarge,
    GatewayError,
    InternalError,
    InvalidRequest,
    NotFound,
    RateLimited,
    Unauthorized,
    UpstreamTimeout,
)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidRequest("No."), "invalid_request_error"),
        (Unauthorized("No."), "authentication_error"),
        (NotFound("No."), "not_found_error"),
        (BodyTooLarge("No."), "request_too_large"),
        (RateLimited("No."), "rate_limit_error"),
        (InternalError(), "api_error"),
        (UpstreamTimeout("No."), "timeout_error"),
    ],
)
def test_an_error_has_the_type_that_its_clients_know(error: GatewayError, kind: str) -> None:
    assert json.loads(AnthropicErrors().error_body(error)) == {
        "type": "error",
        "error": {"type": kind, "message": error.message},
    }
    assert json.loads(OllamaErrors().error_body(error)) == {"error": error.message}


def test_the_headers_are_those_of_the_dialect() -> None:
    headers = {"x-request-id": "req_1"}
    OllamaErrors().add_headers(headers, 1.0)
    assert headers == {"x-request-id": "req_1"}
    AnthropicErrors().add_headers(headers, 1.0)
    assert headers == {"x-request-id": "req_1", "request-id": "req_1"}
    nothing: dict[str, str] = {}
    AnthropicErrors().add_headers(nothing, 1.0)
    assert nothing == {}
