"""Renders models in OpenAI's dialect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.generation.model import Model

# Clients need a number as `created` of a model; Fitten gives none.
_MODEL_CREATED = 1_735_689_600


def model_object(model: Model) -> dict[str, Any]:
    """Return the object of one model."""
    return {
        "id": model.id,
        "object": "model",
        "created": _MODEL_CREATED,
        "owned_by": "fitten",
        "display_name": model.display_name,
    }


def model_body(model: Model) -> bytes:
    """Return the body of GET /v1/models/{id}."""
    return msgspec.json.encode(model_object(model))


def model_list_body(models: Sequence[Model]) -> bytes:
    """Return the body of GET /v1/models."""
    return msgspec.json.encode({"object": "list", "data": [model_object(m) for m in models]})
