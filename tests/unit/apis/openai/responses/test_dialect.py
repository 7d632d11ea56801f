"""Statuses and waits of errors, as Codex acts on them."""

from __future__ import annotations

import pytest

from gateway.apis.openai.dialect import OpenAIDialect
from gateway.apis.openai.responses.dialect import ResponsesDialect
from gateway.errors import (
    AccountRefused,
    BodyTooLarge,
    GatewayError,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    RateLimited,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
    UpstreamError,
    overloaded,
)
from gateway.http.error_response import render_error


@pytest.mark.parametrize(
    ("error", "status", "wait"),
    [
        (InvalidRequest("No."), 400, None),
        (BodyTooLarge("No."), 400, None),
        (UnsupportedMediaType("No."), 400, None),
        (Unauthorized("No."), 401, None),
        (NotFound("No.", code="model_not_found"), 404, None),
        (MethodNotAllowed("No.", allowed=("POST",)), 405, None),
        (UpstreamError("No.", retryable=False), 400, None),
        (AccountRefused("No.", retry_after=30.0), 400, None),
        (Unavailable("No.", retry_after=600.0), 400, None),
        (RateLimited("No.", retryable=False), 429, None),
        (RateLimited("No.", retry_after=3600.0), 429, None),
        (RateLimited("Wait.", retry_after=3.2), 429, "4"),
        (RateLimited("Wait."), 429, "1"),
        (UpstreamError("Again."), 502, "1"),
        (InternalError(), 500, "1"),
        (Unavailable("Again.", retry_after=7.0), 503, "7"),
        (overloaded(), 503, "1"),
    ],
)
def test_what_is_final_has_a_status_that_ends_it_and_all_else_a_wait(
    error: GatewayError, status: int, wait: str | None
) -> None:
    """Codex acts on nothing else."""
    answer = render_error(error, ResponsesDialect())
    assert (answer.status, answer.headers.get("Retry-After")) == (status, wait)
    assert answer.headers["x-should-retry"] == ("false" if wait is None else "true")
    assert answer.body == render_error(error, OpenAIDialect()).body
