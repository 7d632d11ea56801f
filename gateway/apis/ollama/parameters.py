"""Reads the parameters that chats and completions of Ollama's dialect share."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.apis.parameters import (
    WholeNumber,
    ignored_parameters,
    stop_strings,
    unsupported,
    whole_number,
)
from gateway.apis.schema_depth import check_schema_depth
from gateway.generation.request import ResponseFormat

_SCHEMA_NAME = "response"  # the dialect has no name of a schema
_FORMATS = "'json' or a JSON schema"
_EFFORTS = ("high", "medium", "low", "max")


class OllamaOptions(msgspec.Struct):
    """Declares the options that have an effect. Others may have any type."""

    num_predict: WholeNumber | None = None
    stop: str | list[str | None] | None = None


def token_limit(options: OllamaOptions | None) -> int | None:
    """Return the limit of tokens; None for no limit, as for -1, -2 and 0 at Ollama."""
    given = None if options is None else options.num_predict
    limit = 0 if given is None else whole_number(given, "options.num_predict")
    return limit if limit > 0 else None


def stops_of(options: OllamaOptions | None) -> tuple[str, ...]:
    """Return the strings at which the answer ends."""
    return stop_strings(None if options is None else options.stop, "options.stop")


def without_effect(data: dict[str, Any], supported: frozenset[str]) -> tuple[str, ...]:
    """Return the names of given parameters and options that have no effect."""
    options = data.get("options") or {}
    known = frozenset(OllamaOptions.__struct_fields__)
    return (*ignored_parameters(data, supported), *ignored_parameters(options, known))


def parse_format(given: str | dict[str, Any] | None) -> ResponseFormat | None:
    """Parse `format`; None for text. Raises InvalidRequest."""
    if given is None or given == "":
        return None
    if given == "json":
        return ResponseFormat(is_object=True)
    if isinstance(given, str):
        raise unsupported("format", _FORMATS)
    check_schema_depth(given, "format")
    return ResponseFormat(schema=given, name=_SCHEMA_NAME)


def wants_reasoning(given: bool | str | None) -> bool:
    """Return whether the client wants the model's thoughts. Raises InvalidRequest.

    Without `think`, Ollama sends the thoughts of models that think. An effort has no effect:
    Fitten decides how long a model thinks.
    """
    if isinstance(given, str) and given not in _EFFORTS:
        raise unsupported("think", "true, false, 'high', 'medium', 'low' or 'max'")
    return given is not False
