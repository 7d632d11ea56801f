"""Makes up small arguments that fit the JSON schema of a tool. No I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gateway.fitten.tools.writing.schema_references import NodeBudget, References, encode_json
from gateway.generation.request import Tool

_MAX_DEPTH = 8
_MAX_VALUES = 60
_MAX_TEXT = 80  # characters of a value that the schema itself gives
_FORMATS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "PT1H",
    "email": "name@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "uuid": "123e4567-e89b-12d3-a456-426614174000",
}


def example_arguments(tool: Tool) -> dict[str, Any]:
    """Return arguments for a tool: the required ones, or the first one if none is required.

    They fit the schema, except patterns, rules that need a search for a value, and schemas that
    require more than a few dozen values.
    """
    return example_value(tool, nested=False)


def example_value(tool: Tool, *, nested: bool) -> dict[str, Any]:
    """Return arguments for a tool. nested: whether one that has members must be among them."""
    maker = _Maker(tool.parameters)
    found = maker.value(tool.parameters, 0, nested=nested)
    return found if isinstance(found, dict) else {}


class _Maker:
    def __init__(self, root: Any) -> None:
        self._references = References(root, NodeBudget())
        self._left = _MAX_VALUES

    def value(self, schema: Any, depth: int, *, nested: bool = False) -> Any:
        self._left -= 1
        if not isinstance(schema, Mapping) or depth > _MAX_DEPTH or self._left < 0:
            return "..."
        for given in _given(schema):
            if len(encode_json(given)) <= _MAX_TEXT:
                return given
        if isinstance(reference := schema.get("$ref"), str):
            return self.value(self._references.target(reference), depth, nested=nested)
        found: dict[str, Any] = {}
        for key in ("allOf", "anyOf", "oneOf"):
            branches = schema.get(key)
            if isinstance(branches, list) and branches:
                for branch in branches if key == "allOf" else branches[:1]:
                    if not _says_type(branch):
                        continue
                    inner = self.value(branch, depth + 1)
                    if not isinstance(inner, dict):
                        return inner
                    found |= inner
        kind = _kind(schema)
        if kind == "object" or (found and kind is None):
            return found | self._object(schema, depth, nested=nested)
        if kind == "array":
            return self._array(schema, depth)
        if kind in ("integer", "number"):
            return _number(schema, kind)
        return {"boolean": True, "null": None}.get(kind or "", _text(schema))

    def _object(self, schema: Mapping[str, Any], depth: int, *, nested: bool) -> dict[str, Any]:
        members = schema.get("properties")
        members = members if isinstance(members, Mapping) else {}
        required = schema.get("required")
        required = required if isinstance(required, list) else []
        names = {name for name in required if isinstance(name, str)}
        wanted = [name for name in members if name in names]
        if depth == 0 and nested and not any(self._has_members(members[n]) for n in wanted):
            wanted += [name for name in members if self._has_members(members[name])][:1]
        if depth <= 1:
            wanted = wanted or list(members)[:1]
        values: dict[str, Any] = {}
        for name in wanted:
            if self._left > 0:
                values[name] = self.value(members[name], depth + 1)
        others = schema.get("additionalProperties")
        if not values and depth and isinstance(others, Mapping):
            values["key"] = self.value(others, depth + 1)
        return values

    def _has_members(self, schema: Any) -> bool:
        for _ in range(_MAX_DEPTH):
            if not isinstance(schema, Mapping):
                return False
            if schema.get("properties"):
                return True
            if isinstance(reference := schema.get("$ref"), str):
                schema = self._references.target(reference)
            else:
                schema = schema.get("items") or schema.get("additionalProperties")
        return False

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        least = schema.get("minItems")
        count = min(max(least, 1), 5) if isinstance(least, int) else 1
        if schema.get("maxItems") == 0 or (depth >= _MAX_DEPTH and not least):
            return []
        return [self.value(schema.get("items", {}), depth + 1) for _ in range(count)]


def _given(schema: Mapping[str, Any]) -> list[Any]:
    """Return values that the schema itself gives, the best first."""
    found = [schema[key] for key in ("const", "default") if key in schema]
    for key in ("enum", "examples"):
        values = schema.get(key)
        if isinstance(values, list):
            found += values[:1]
    return found


def _says_type(schema: Any) -> bool:
    return isinstance(schema, Mapping) and not {"required", "not"}.issuperset(schema)


def _kind(schema: Mapping[str, Any]) -> str | None:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((name for name in kind if name != "null"), "null")
    if isinstance(kind, str):
        return kind
    if "properties" in schema or "additionalProperties" in schema:
        return "object"
    return "array" if "items" in schema else None


def _number(schema: Mapping[str, Any], kind: str) -> float:
    def limit(key: str) -> float | None:
        found = schema.get(key)
        if isinstance(found, bool) or not isinstance(found, int | float):
            return None
        return found if math.isfinite(found) else None

    least, above = limit("minimum"), limit("exclusiveMinimum")
    most, below = limit("maximum"), limit("exclusiveMaximum")
    step = limit("multipleOf") or 1
    found: float = 1
    for bound in (least, None if above is None else above + (1 if kind == "integer" else step)):
        found = found if bound is None else max(found, bound)
    for bound in (most, None if below is None else below - (1 if kind == "integer" else step)):
        found = found if bound is None else min(found, bound)
    if step > 0 and step != 1:
        found = math.ceil(found / step) * step
    if kind == "integer":
        return math.ceil(found)
    return found


def _text(schema: Mapping[str, Any]) -> str:
    form = schema.get("format")
    text = _FORMATS.get(form, "...") if isinstance(form, str) else "..."
    least, most = schema.get("minLength"), schema.get("maxLength")
    if isinstance(least, int) and len(text) < least <= _MAX_TEXT:
        text = text.ljust(least, ".")
    return text[: max(most, 0)] if isinstance(most, int) else text
