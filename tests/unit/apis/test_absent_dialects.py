"""Errors in a dialect that has no routes here."""

from __future__ import annotations

import json

from gateway.apis.absent_dialects import OllamaErrors
from gateway.errors import InvalidRequest


def test_an_error_of_ollama_is_a_sentence() -> None:
    error = InvalidRequest("No.")
    assert json.loads(OllamaErrors().error_body(error)) == {"error": "No."}
    assert OllamaErrors().status(error) == 400


def test_ollama_has_no_headers_of_its_own() -> None:
    headers = {"x-request-id": "req_1"}
    OllamaErrors().add_headers(headers, 1.0)
    assert headers == {"x-request-id": "req_1"}
