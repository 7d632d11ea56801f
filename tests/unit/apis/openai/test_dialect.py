"""What the rest of the gateway asks OpenAI's dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.apis.openai.dialect import OpenAIDialect
from gateway.errors import InvalidRequest
from gateway.generation.model import Model

MESSAGES: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}
FUNCTION = {"type": "function", "function": {"name": "run"}}


@pytest.mark.parametrize(
    ("body", "headers", "own"),
    [
        (MESSAGES, {}, True),
        (MESSAGES | {"tools": [FUNCTION]}, {}, True),
        (MESSAGES | {"tools": "none"}, {}, True),
        ({"input": "hi"}, {}, True),
        ({"prompt": "hi", "system": "be short"}, {}, True),
        ({}, {"anthropic-version": "2023-06-01"}, True),
        (MESSAGES, {"anthropic-version": "2023-06-01"}, False),
        (MESSAGES | {"system": "be short"}, {}, False),
        (MESSAGES | {"tools": [{"name": "run", "input_schema": {}}]}, {}, False),
        (MESSAGES | {"tools": [None, {"name": "run", "input_schema": {}}]}, {}, False),
    ],
)
def test_a_body_is_its_own_unless_it_has_a_sign_of_another_dialect(
    body: dict[str, Any], headers: dict[str, str], own: bool
) -> None:
    assert OpenAIDialect().owns(body, headers) is own


def test_errors_and_models_have_openais_shapes() -> None:
    dialect = OpenAIDialect()
    error = json.loads(dialect.error_body(InvalidRequest("No.", code="c", param="p")))
    assert error == {
        "error": {"message": "No.", "type": "invalid_request_error", "param": "p", "code": "c"}
    }
    model = Model("a", "A", None, "chat")
    listed = json.loads(dialect.models_body([model]))
    assert listed == {"object": "list", "data": [json.loads(dialect.model_body(model))]}
    headers: dict[str, str] = {}
    dialect.add_headers(headers, 1.25)
    assert headers == {"openai-processing-ms": "1250", "openai-version": "2020-10-01"}
