"""What all routes in OpenAI's dialect share: errors, model objects, usage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.errors import GatewayError
from gateway.generation import Model, Usage

# `created` of a model must be a number; the upstream gives none.
_MODEL_CREATED = 1_735_689_600

_TYPES = {401: "invalid_request_error", 429: "requests"}


def error_object(error: GatewayError) -> dict[str, Any]:
    """`{"error": {...}}` as OpenAI's SDKs read it (their type ErrorObject)."""
    kind = _TYPES.get(error.status)
    if kind is None:
        kind = "invalid_request_error" if error.status < 500 else "server_error"
    return {
        "error": {
            "message": error.message,
            "type": kind,
            "param": error.param,
            "code": error.code,
        }
    }


def error_body(error: GatewayError) -> bytes:
    """The body of an answer that is an error."""
    return msgspec.json.encode(error_object(error))


def usage_object(usage: Usage) -> dict[str, Any]:
    """The `usage` member of an answer."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def model_object(model: Model) -> dict[str, Any]:
    """One model."""
    return {
        "id": model.id,
        "object": "model",
        "created": _MODEL_CREATED,
        "owned_by": "fitten",
        "display_name": model.display_name,
    }


def model_body(model: Model) -> bytes:
    """The body of GET /v1/models/{id}."""
    return msgspec.json.encode(model_object(model))


def model_list_body(models: Sequence[Model]) -> bytes:
    """The body of GET /v1/models."""
    return msgspec.json.encode({"object": "list", "data": [model_object(m) for m in models]})
