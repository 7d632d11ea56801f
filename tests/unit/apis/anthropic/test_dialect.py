"""Errors, models and headers as clients of Anthropic's API read them."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import Any

import pytest

from gateway.apis.anthropic.dialect import AnthropicDialect
from gateway.errors import (
    AccountRefused,
    BodyTooLarge,
    GatewayError,
    InternalError,
    InvalidRequest,
    NotFound,
    RateLimited,
    Unauthorized,
    Unavailable,
    UpstreamError,
    UpstreamTimeout,
    overloaded,
)
from gateway.generation.model import Model

DIALECT = AnthropicDialect()
MODELS = [
    Model("fitten-code", "Fitten Code", None, "chat", is_default=True),
    Model("a", "A", "A", "chat"),
]


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (InvalidRequest("No."), 400, "invalid_request_error"),
        (Unauthorized("No."), 401, "authentication_error"),
        (NotFound("No."), 404, "not_found_error"),
        (BodyTooLarge("No."), 413, "request_too_large"),
        (RateLimited("No."), 429, "rate_limit_error"),
        (InternalError(), 500, "api_error"),
        (UpstreamError("No."), 502, "api_error"),
        (UpstreamTimeout("No."), 504, "timeout_error"),
        (overloaded(), 529, "overloaded_error"),
        (Unavailable("No.", retry_after=3.0), 529, "overloaded_error"),
        (AccountRefused("No."), 503, "api_error"),
        (Unavailable("No.", code="draining"), 503, "api_error"),
    ],
)
def test_an_error_has_the_status_and_the_type_that_clients_know(
    error: GatewayError, status: int, kind: str
) -> None:
    assert DIALECT.status(error) == status
    assert json.loads(DIALECT.error_body(error, "req_1")) == {
        "type": "error",
        "error": {"type": kind, "message": error.message},
        "request_id": "req_1",
    }


def test_a_request_that_is_forbidden() -> None:
    error = InvalidRequest("No.")
    error.status = 403
    assert json.loads(DIALECT.error_body(error))["error"]["type"] == "permission_error"
    assert "request_id" not in json.loads(DIALECT.error_body(error))


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("Not here.", "messages[0].content: Not here."),
        ("'messages[0].content' is wrong.", "'messages[0].content' is wrong."),
    ],
)
def test_a_message_names_the_field(message: str, shown: str) -> None:
    error = InvalidRequest(message, param="messages[0].content")
    assert json.loads(DIALECT.error_body(error))["error"]["message"] == shown


@pytest.mark.parametrize("code", ["thread_unsupported_request", "thread_not_found"])
def test_the_sdks_see_that_there_are_no_threads(code: str) -> None:
    error = InvalidRequest("No.", code=code)
    assert json.loads(DIALECT.error_body(error))["error"]["details"] == {"error_code": code}


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [("120ms", 0.12), ("1.5s", 1.5), ("6m0s", 360), ("3h1m2s", 10_862), ("?", 0)],
)
@pytest.mark.parametrize("what", ["requests", "tokens"])
def test_a_limit_has_anthropics_names(what: str, duration: str, seconds: float) -> None:
    headers = {
        "x-request-id": "req_1",
        f"x-ratelimit-limit-{what}": "60",
        f"x-ratelimit-remaining-{what}": "59",
        f"x-ratelimit-reset-{what}": duration,
    }
    before = time.time()
    DIALECT.add_headers(headers, 1.0)
    assert headers["request-id"] == "req_1"
    assert headers[f"anthropic-ratelimit-{what}-limit"] == "60"
    assert headers[f"anthropic-ratelimit-{what}-remaining"] == "59"
    reset = datetime.fromisoformat(headers[f"anthropic-ratelimit-{what}-reset"]).timestamp()
    assert int(before + seconds) <= reset <= time.time() + seconds


def test_without_an_id_and_a_limit_there_are_no_headers() -> None:
    headers: dict[str, str] = {}
    DIALECT.add_headers(headers, 1.0)
    assert headers == {}


def test_models() -> None:
    shown = {
        "type": "model",
        "id": "fitten-code",
        "display_name": "Fitten Code",
        "created_at": "2025-01-01T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": 0,
    }
    assert json.loads(DIALECT.model_body(MODELS[0])) == shown
    page = json.loads(DIALECT.models_body(MODELS))
    assert page["data"] == [shown, {**shown, "id": "a", "display_name": "A"}]
    assert (page["has_more"], page["first_id"], page["last_id"]) == (False, "fitten-code", "a")
    assert json.loads(DIALECT.models_body([]))["first_id"] is None


VERSION = {"anthropic-version": "2023-06-01"}
TOOL = {"name": "run", "input_schema": {}}


@pytest.mark.parametrize(
    ("body", "headers", "own"),
    [
        ({"messages": []}, {}, False),
        ({"messages": []}, VERSION, True),
        ({"messages": [], "system": "be short"}, {}, True),
        ({"messages": [], "tools": [TOOL]}, {}, True),
        ({"messages": [], "tools": [None, {"type": "web_search"}, TOOL]}, {}, True),
        ({"messages": [], "tools": [{"type": "function", "function": {}}]}, {}, False),
        ({"messages": [], "tools": {"input_schema": {}}}, {}, False),
        ({"messages": [], "tools": None}, {}, False),
        ({"input": "hi", "system": "be short", "tools": [TOOL]}, VERSION, False),
        ({"prompt": "hi"}, VERSION, False),
        ({}, VERSION, False),
    ],
)
def test_messages_have_a_sign_beside_them(
    body: dict[str, Any], headers: dict[str, str], own: bool
) -> None:
    assert DIALECT.owns(body, headers) is own
