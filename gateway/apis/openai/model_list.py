"""Models as OpenAI's clients read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.generation.model import Model

# `created` of a model must be a number; the upstream gives none.
_MODEL_CREATED = 1_735_689_600


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
