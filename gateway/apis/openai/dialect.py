"""Describes OpenAI's dialect to the rest of the gateway: errors, models, headers."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import msgspec

from gateway.apis.openai import errors
from gateway.errors import GatewayError
from gateway.generation.model import Model

# Clients need a number as `created` of a model; Fitten gives none.
_MODEL_CREATED = 1_735_689_600


# Programs look for the size of the context under different names.
_WINDOW_NAMES = ("context_length", "context_window", "max_input_tokens", "max_model_len")


class OpenAIDialect:
    """Renders errors and models as OpenAI's SDKs read them; see `Dialect`."""

    def status(self, error: GatewayError) -> int:
        """Return the status of the error."""
        return error.status

    def retry_after(self, error: GatewayError) -> float | None:
        """Return the seconds that the error knows of."""
        return error.retry_after

    def error_body(self, error: GatewayError, request_id: str | None = None) -> bytes:
        """Return `{"error": {...}}`."""
        return errors.error_body(error)

    def add_headers(self, headers: MutableMapping[str, str], seconds: float) -> None:
        """Add the headers that OpenAI's SDKs log."""
        headers["openai-processing-ms"] = f"{seconds * 1000:.0f}"
        headers["openai-version"] = "2020-10-01"

    def owns(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
        """Return False: all that chat completions have, other dialects have too."""
        return False

    def models_body(self, models: Sequence[Model]) -> bytes:
        """Return the body of GET /v1/models."""
        return msgspec.json.encode({"object": "list", "data": [_model_object(m) for m in models]})

    def model_body(self, model: Model) -> bytes:
        """Return the body of GET /v1/models/{id}."""
        return msgspec.json.encode(_model_object(model))


def _model_object(model: Model) -> dict[str, Any]:
    return {
        "id": model.id,
        "object": "model",
        "created": _MODEL_CREATED,
        "owned_by": "fitten",
        "display_name": model.display_name,
        **dict.fromkeys(_WINDOW_NAMES, model.context_window),
    }
