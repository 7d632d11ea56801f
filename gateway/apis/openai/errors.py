"""What all routes in OpenAI's dialect share: errors, model objects, usage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.errors import GatewayError, InvalidRequest, word
from gateway.generation.request import Model, Usage

# `created` of a model must be a number; the upstream gives none.
_MODEL_CREATED = 1_735_689_600

_MAX_STOP_LENGTH = 1024
_MAX_IGNORED_NAMES = 32

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


class StreamOptions(msgspec.Struct):
    """The `stream_options` of a request."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


def stop_strings(given: str | list[str] | None, *, most: int) -> tuple[str, ...]:
    """The strings of `stop`. Raises InvalidRequest for too many, empty or endless ones."""
    stop = (given,) if isinstance(given, str) else tuple(given or ())
    if len(stop) > most or not all(0 < len(s) <= _MAX_STOP_LENGTH for s in stop):
        raise InvalidRequest(
            f"'stop' takes up to {most} strings of 1 to {_MAX_STOP_LENGTH} characters.",
            code="unsupported_value",
            param="stop",
        )
    return stop


def ignored(data: dict[str, Any], carried_out: frozenset[str]) -> tuple[str, ...]:
    """The given parameters that have no effect; only names that fit into a header."""
    names = [
        name
        for name, value in data.items()
        if value is not None
        and name not in carried_out
        and word(name) == name
        and name.replace("-", "_").isidentifier()
    ]
    return tuple(names[:_MAX_IGNORED_NAMES])


def missing(param: str) -> InvalidRequest:
    """What to raise for a parameter that is not there."""
    return InvalidRequest(
        f"Missing required parameter: '{param}'.", code="missing_required_parameter", param=param
    )


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
