"""Describes Anthropic's dialect to the rest of the gateway: errors, models, headers."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.apis.anthropic import errors
from gateway.errors import GatewayError
from gateway.generation.model import Model

# Clients need the time of a model's release; Fitten gives none.
_MODEL_CREATED = "2025-01-01T00:00:00Z"
_LIMITED = ("requests", "tokens")
_DURATION = re.compile(
    r"(?:(?P<ms>\d+)ms|(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m)?(?:(?P<s>\d+(?:\.\d+)?)s)?)"
)


class AnthropicDialect:
    """Renders errors and models as Anthropic's SDKs read them; see `Dialect`."""

    def status(self, error: GatewayError) -> int:
        """Return the status of an answer that is an error."""
        return errors.status_of(error)

    def retry_after(self, error: GatewayError) -> float | None:
        """Return the seconds that the error knows of."""
        return error.retry_after

    def error_body(self, error: GatewayError, request_id: str | None = None) -> bytes:
        """Return `{"type": "error", "error": {...}, "request_id": ...}`."""
        return errors.error_body(error, request_id)

    def add_headers(self, headers: MutableMapping[str, str], seconds: float) -> None:
        """Add the headers that Anthropic's SDKs and their users read.

        The request's id, and what the limits say, under Anthropic's names.
        """
        if "x-request-id" in headers:
            headers["request-id"] = headers["x-request-id"]
        for what in _LIMITED:
            if (limit := headers.get(f"x-ratelimit-limit-{what}")) is not None:
                name = f"anthropic-ratelimit-{what}-"
                headers[f"{name}limit"] = limit
                headers[f"{name}remaining"] = headers.get(f"x-ratelimit-remaining-{what}", "0")
                reset = time.time() + _seconds(headers.get(f"x-ratelimit-reset-{what}", ""))
                headers[f"{name}reset"] = f"{datetime.fromtimestamp(reset, UTC):%Y-%m-%dT%H:%M:%SZ}"

    def owns(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
        """Return whether there are `messages` and a sign of this API with them; see `Dialect`."""
        if "messages" not in body:
            return False
        if "anthropic-version" in headers or "system" in body:
            return True
        if "tools" not in body or not isinstance(body["tools"], list):
            return False
        return any(isinstance(tool, dict) and "input_schema" in tool for tool in body["tools"])

    def models_body(self, models: Sequence[Model]) -> bytes:
        """Return the body of GET /v1/models: one page with all models."""
        body: dict[str, Any] = {
            "data": [_model_object(model) for model in models],
            "has_more": False,
            "first_id": models[0].id if models else None,
            "last_id": models[-1].id if models else None,
        }
        return msgspec.json.encode(body)

    def model_body(self, model: Model) -> bytes:
        """Return the body of GET /v1/models/{id}."""
        return msgspec.json.encode(_model_object(model))


def _model_object(model: Model) -> dict[str, Any]:
    return {
        "type": "model",
        "id": model.id,
        "display_name": model.display_name,
        "created_at": _MODEL_CREATED,
        "lifecycle": "active",
        "max_input_tokens": model.context_window,
    }


def _seconds(duration: str) -> float:
    """Return the seconds of a duration such as `120ms`, `1.5s`, `6m0s` or `3h0m0s`."""
    match = _DURATION.fullmatch(duration)
    if match is None:
        return 0.0
    minutes = 60 * int(match["h"] or 0) + int(match["m"] or 0)
    return int(match["ms"] or 0) / 1000 + 60 * minutes + float(match["s"] or 0)
