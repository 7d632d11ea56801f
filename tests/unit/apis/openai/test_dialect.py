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
    "body", [MESSAGES, MESSAGES | {"tools": [FUNCTION]}, {"input": "hi"}, {"prompt": "hi"}, {}]
)
def test_no_body_has_a_sign_of_chat_completions(body: dict[str, Any]) -> None:
    assert not OpenAIDialect().owns(body, {"anthropic-version": "2023-06-01"})


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
