"""Converts arguments of a tool call to the types of the tool's JSON schema. No I/O.

A value is changed only when its meaning is certain. Examples: text that is a number where the
schema wants a number; a number where it wants text; JSON in text where it wants an object. Any
other value stays as the model wrote it; the client may check it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 32
MAX_STEPS = 20_000

_INTEGER = re.compile(r"\s*-?\d{1,300}\s*", re.ASCII)
_NUMBER = re.compile(r"\s*-?\d{1,300}(\.\d{1,300})?([eE][+-]?\d{1,3})?\s*", re.ASCII)
_BOOLEANS: dict[str, Any] = {"true": True, "false": False}
_CHOICES = ("anyOf", "oneOf")

JsonSchema = Mapping[str, Any]


class ArgumentCoercion:
    """Converts values to the types of one JSON schema; follows `$ref` within it.

    root: the JSON schema of a tool's arguments.
    """

    def __init__(self, root: JsonSchema) -> None:
        self._root = root
        self._steps = 0  # limited, since a schema may refer to itself in every branch

    def coerce_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of one call, converted."""
        self._steps = 0
        coerced = self.coerce(arguments)
        return coerced if isinstance(coerced, dict) else arguments

    def coerce(self, value: Any, schema: Any = None, depth: int = 0) -> Any:
        """Return the value converted to the type of a schema, or unchanged.

        schema: a part of the root; the root itself unless given.
        """
        schema = self._resolve(self._root if schema is None else schema)
        self._steps += 1
        if depth > MAX_DEPTH or self._steps > MAX_STEPS or not isinstance(schema, Mapping):
            return value
        for name in _CHOICES:
            if isinstance(branches := schema.get(name), list) and branches:
                value = self._coerce_one_of(value, branches, depth)
        for part in schema.get("allOf") or () if isinstance(schema.get("allOf"), list) else ():
            value = self.coerce(value, part, depth + 1)
        value = _coerce_type(value, self.types(schema))
        value = _coerce_enum(value, schema)
        if isinstance(value, dict):
            return self._coerce_members(value, schema, depth)
        if isinstance(value, list) and isinstance(items := schema.get("items"), Mapping):
            return [self.coerce(item, items, depth + 1) for item in value]
        return value

    def argument_schema(self, name: str) -> JsonSchema:
        """Return the schema of one argument; {} when there is none."""
        properties = self._resolve(self._root).get("properties")
        found = properties.get(name) if isinstance(properties, Mapping) else None
        found = self._resolve(found)
        return found if isinstance(found, Mapping) else {}

    def types(self, schema: Any) -> tuple[str, ...]:
        """Return the types that a schema names; `object` if it only has properties."""
        named = schema.get("type") if isinstance(schema, Mapping) else None
        if isinstance(named, str):
            return (named,)
        if isinstance(named, list):
            return tuple(name for name in named if isinstance(name, str))
        if isinstance(schema, Mapping) and isinstance(schema.get("properties"), Mapping):
            return ("object",)
        return ()

    def _coerce_members(
        self, value: dict[str, Any], schema: JsonSchema, depth: int
    ) -> dict[str, Any]:
        properties = schema.get("properties")
        properties = properties if isinstance(properties, Mapping) else {}
        others = schema.get("additionalProperties")
        others = others if isinstance(others, Mapping) else {}
        return {
            name: self.coerce(inner, properties.get(name, others), depth + 1)
            for name, inner in value.items()
        }

    def _coerce_one_of(self, value: Any, branches: list[Any], depth: int) -> Any:
        """Convert the value by the first branch that it fits, else by the first that can."""
        resolved = [self._resolve(branch) for branch in branches[:64]]
        for branch in resolved:
            if _has_type(value, self.types(branch)):
                return self.coerce(value, branch, depth + 1)
        for branch in resolved:
            coerced = self.coerce(value, branch, depth + 1)
            if _has_type(coerced, self.types(branch)):
                return coerced
        return value

    def _resolve(self, schema: Any) -> Any:
        """Return the schema that a `$ref` points to; {} for a reference outside the root."""
        for _ in range(8):
            reference = schema.get("$ref") if isinstance(schema, Mapping) else None
            if not isinstance(reference, str):
                break
            if not reference.startswith("#"):
                return {}
            schema = self._root
            for step in reference[1:].strip("/").split("/") if reference != "#" else ():
                step = step.replace("~1", "/").replace("~0", "~")
                schema = schema.get(step) if isinstance(schema, Mapping) else None
        return schema if isinstance(schema, (Mapping, bool)) else {}


def _has_type(value: Any, types: tuple[str, ...]) -> bool:
    return any(
        (name == "string" and isinstance(value, str))
        or (name == "boolean" and isinstance(value, bool))
        or (name == "null" and value is None)
        or (name == "object" and isinstance(value, dict))
        or (name == "array" and isinstance(value, list))
        or (name == "integer" and isinstance(value, int) and not isinstance(value, bool))
        or (name == "number" and isinstance(value, (int, float)) and not isinstance(value, bool))
        for name in types
    )


def _coerce_type(value: Any, types: tuple[str, ...]) -> Any:
    if isinstance(value, float) and value.is_integer() and "integer" in types:
        return int(value) if "number" not in types and abs(value) < 2**53 else value
    if not types or _has_type(value, types):
        # Of text where text is allowed, only the word "null" is converted.
        return None if value == "null" and "null" in types else value
    if isinstance(value, str):
        return _coerce_text(value, types)
    if isinstance(value, (bool, int, float)) and "string" in types:
        return json.dumps(value)
    return value


def _coerce_text(text: str, types: tuple[str, ...]) -> Any:
    """Return the value that a text stands for, if it has one of the types; else the text."""
    word = text.strip().lower()
    if "null" in types and word == "null":
        return None
    if "boolean" in types and word in _BOOLEANS:
        return _BOOLEANS[word]
    if "integer" in types and _INTEGER.fullmatch(text):
        return int(text)
    if "number" in types and _NUMBER.fullmatch(text):
        number = json.loads(str(int(text)) if _INTEGER.fullmatch(text) else _strip_zeros(text))
        return number if abs(number) != float("inf") else text
    if word[:1] in ("{", "[") and ("object" in types or "array" in types):
        try:
            value = json.loads(text, strict=False)
        except (ValueError, RecursionError):
            return text
        return value if _has_type(value, types) else text
    return text


def _strip_zeros(number: str) -> str:
    """Return a number without leading zeros, which JSON does not allow."""
    sign, digits = ("-", number.strip()[1:]) if "-" in number.strip()[:1] else ("", number.strip())
    stripped = digits.lstrip("0")
    return sign + (stripped if stripped[:1].isdigit() else "0" + stripped)


def _coerce_enum(value: Any, schema: JsonSchema) -> Any:
    """Return the value of the enum that a text stands for, such as 1 for `"1"`."""
    allowed = schema.get("enum")
    if not isinstance(allowed, list) or value in allowed or not isinstance(value, str):
        return value
    same = [item for item in allowed if not isinstance(item, str) and json.dumps(item) == value]
    return same[0] if len(same) == 1 else value
