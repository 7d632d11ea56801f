"""Describes Ollama's dialect to the rest of the gateway: errors, models, the version."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import msgspec

from gateway.apis.json_body import convert, parse_object
from gateway.apis.ollama import errors
from gateway.apis.parameters import missing_parameter
from gateway.errors import GatewayError
from gateway.generation.model import Model

# Clients compare it with the first version that has what they need: VS Code wants 0.6.4 or later,
# Codex 0.13.4 for the Responses API, programs around Claude Code 0.14.2 for the Messages API.
_VERSION = "0.15.0"
_ARCHITECTURE = "fitten"
_TAG = ":latest"
# Clients need the time of a model's last change, and when it leaves memory; Fitten gives neither.
_MODIFIED = "2025-01-01T00:00:00Z"
_EXPIRES = "2318-01-01T00:00:00Z"
# Such models read text only. Fitten does not say which of its models can see.
_TEXT_ONLY = ("deepseek",)
# Continue looks for `.Suffix` to learn whether a model completes at the cursor.
_TEMPLATE = (
    "{{ if .Suffix }}{{ .Prompt }}{{ .Suffix }}{{ else }}{{ .System }}{{ .Prompt }}{{ end }}"
)


class OllamaDialect:
    """Renders errors and models as Ollama's clients read them; see `Dialect`."""

    def status(self, error: GatewayError) -> int:
        """Return the status of the error."""
        return error.status

    def retry_after(self, error: GatewayError) -> float | None:
        """Return the seconds that the error knows of."""
        return error.retry_after

    def error_body(self, error: GatewayError, request_id: str | None = None) -> bytes:
        """Return `{"error": "..."}`."""
        return errors.error_body(error)

    def add_headers(self, headers: MutableMapping[str, str], seconds: float) -> None:
        """Add nothing: Ollama has no headers of its own."""

    def owns(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
        """Return True: no other dialect is spoken on these routes; see `Dialect`."""
        return True

    def models_body(self, models: Sequence[Model]) -> bytes:
        """Return the body of GET /api/tags."""
        return msgspec.json.encode({"models": [_listed(model) for model in models]})

    def model_body(self, model: Model) -> bytes:
        """Return the body of POST /api/show."""
        name = _name(model)
        body = {
            "license": "",
            "modelfile": f"FROM {name}\n",
            "parameters": "",
            "template": _TEMPLATE,
            "details": _details(),
            "model_info": {
                "general.architecture": _ARCHITECTURE,
                "general.basename": model.display_name,
                f"{_ARCHITECTURE}.context_length": model.context_window,
            },
            "capabilities": _capabilities(model),
            "modified_at": _MODIFIED,
        }
        return msgspec.json.encode(body)


def running_models(models: Sequence[Model]) -> bytes:
    """Return the body of GET /api/ps: every model can answer at once, so all of them run."""
    running = [
        {
            **_reference(model),
            "expires_at": _EXPIRES,
            "size_vram": 0,
            "context_length": model.context_window,
        }
        for model in models
    ]
    return msgspec.json.encode({"models": running})


def version_body() -> bytes:
    """Return the body of GET /api/version: the version whose API is spoken, not the gateway's."""
    return msgspec.json.encode({"version": _VERSION})


class _ShowBody(msgspec.Struct):
    """Declares the body of POST /api/show; older clients send `name`."""

    model: str | None = None
    name: str | None = None


def model_in_body(body: bytes) -> str:
    """Return the name of the model that a body asks for. Raises InvalidRequest."""
    given = convert(parse_object(body), _ShowBody)
    name = given.model or given.name
    if not name:
        raise missing_parameter("model")
    return name


def _listed(model: Model) -> dict[str, Any]:
    return {
        **_reference(model),
        "modified_at": _MODIFIED,
        "capabilities": _capabilities(model),
    }


def _reference(model: Model) -> dict[str, Any]:
    name = _name(model)
    return {
        "name": name,
        "model": name,
        "size": 0,
        "digest": hashlib.sha256(model.id.encode()).hexdigest(),
        "details": _details(),
    }


def _name(model: Model) -> str:
    """Return the name with a tag: some clients add one to each name that they choose from."""
    return model.typed_id if ":" in model.typed_id else model.typed_id + _TAG


def _details() -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "",
        "family": _ARCHITECTURE,
        "families": [_ARCHITECTURE],
        "parameter_size": "",
        "quantization_level": "",
    }


def _capabilities(model: Model) -> list[str]:
    """Return what a request that names the model can use.

    All models write calls as text, and completions do not depend on the model.
    """
    vision = [] if model.display_name.casefold().startswith(_TEXT_ONLY) else ["vision"]
    return ["completion", "tools", "insert", *vision]
