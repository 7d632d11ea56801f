"""Parses OpenAI's `response_format` into a `ResponseFormat`."""

from __future__ import annotations

import re
from typing import Any

from gateway.apis.openai.parameters import missing_parameter
from gateway.apis.schema_depth import check_schema_depth
from gateway.errors import InvalidRequest
from gateway.generation.request import ResponseFormat

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_TYPES = ("text", "json_object", "json_schema")
_PARAM = "response_format"


def parse_response_format(
    given: dict[str, Any] | None, *, param: str = _PARAM, flat: bool = False
) -> ResponseFormat | None:
    """Parse the parameter; None for text. Raises InvalidRequest that names the wrong field.

    param: where it is in the request.
    flat: whether the schema's members stand in it, and not in its member `json_schema`.
    """
    if given is None:
        return None
    kind = given.get("type")
    if kind is None:
        raise missing_parameter(f"{param}.type")
    if kind not in _TYPES:
        raise InvalidRequest(
            f"'{param}.type' must be one of {', '.join(_TYPES)}.",
            code="unsupported_value" if isinstance(kind, str) else "invalid_type",
            param=f"{param}.type",
        )
    if kind == "text":
        return None
    if kind == "json_object":
        return ResponseFormat(is_object=True)
    if flat:
        return _json_schema(given, param)
    return _json_schema(given.get("json_schema"), f"{param}.json_schema")


def _json_schema(given: Any, here: str) -> ResponseFormat:
    if given is None:
        raise missing_parameter(here)
    if not isinstance(given, dict):
        raise _wrong(here, "an object")
    name, schema = given.get("name"), given.get("schema")
    if name is None:
        raise missing_parameter(f"{here}.name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _wrong(f"{here}.name", "1 to 64 letters, digits, '_' or '-'")
    if schema is not None and not isinstance(schema, dict):
        raise _wrong(f"{here}.schema", "an object")
    check_schema_depth(schema, f"{here}.schema")
    description = given.get("description") or ""
    if not isinstance(description, str):
        raise _wrong(f"{here}.description", "text")
    return ResponseFormat(schema=schema, name=name, description=description)


def _wrong(path: str, wanted: str) -> InvalidRequest:
    return InvalidRequest(f"'{path}' must be {wanted}.", code="invalid_type", param=path)
