"""Arguments brought into the shape of a tool's JSON schema, without guessing.

Only what has one meaning is changed: text that is a number where a number is wanted, a
number where text is wanted, JSON in text where an object is wanted. Anything else stays
as the model wrote it, for the tool's owner to judge. No I/O.
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
_CONSTANTS: dict[str, Any] = {"true": True, "false": False}
_CHOICES = ("anyOf", "oneOf")

JsonSchema = Mapping[str, Any]


class ArgumentCoercion:
    """Fits values to one tool's schema; `$ref` is followed within it."""

    def __init__(self, root: JsonSchema) -> None:
        self._root = root
        self._steps = 0  # a schema that refers to itself in every branch would never end

    def fit_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments of one call as the schema would have them."""
        self._steps = 0
        fitted = self.fit(arguments)
        return fitted if isinstance(fitted, dict) else arguments

    def fit(self, value: Any, schema: Any = None, depth: int = 0) -> Any:
        """The value as the schema (the root unless given) would have it, or unchanged."""
        schema = self._resolved(self._root if schema is None else schema)
        self._steps += 1
        if depth > MAX_DEPTH or self._steps > MAX_STEPS or not isinstance(schema, Mapping):
            return value
        for name in _CHOICES:
            if isinstance(branches := schema.get(name), list) and branches:
                value = self._fit_one_of(value, branches, depth)
        for part in schema.get("allOf") or () if isinstance(schema.get("allOf"), list) else ():
            value = self.fit(value, part, depth + 1)
        value = _of_type(value, self.types(schema))
        value = _of_enum(value, schema)
        if isinstance(value, dict):
            return self._fit_members(value, schema, depth)
        if isinstance(value, list) and isinstance(items := schema.get("items"), Mapping):
            return [self.fit(item, items, depth + 1) for item in value]
        return value

    def member(self, name: str) -> JsonSchema:
        """The schema of a member of the root, or an empty one."""
        properties = self._resolved(self._root).get("properties")
        found = properties.get(name) if isinstance(properties, Mapping) else None
        found = self._resolved(found)
        return found if isinstance(found, Mapping) else {}

    def types(self, schema: Any) -> tuple[str, ...]:
        """The types a schema names, or implies by its members."""
        named = schema.get("type") if isinstance(schema, Mapping) else None
        if isinstance(named, str):
            return (named,)
        if isinstance(named, list):
            return tuple(name for name in named if isinstance(name, str))
        if isinstance(schema, Mapping) and isinstance(schema.get("properties"), Mapping):
            return ("object",)
        return ()

    def _fit_members(self, value: dict[str, Any], schema: JsonSchema, depth: int) -> dict[str, Any]:
        properties = schema.get("properties")
        properties = properties if isinstance(properties, Mapping) else {}
        others = schema.get("additionalProperties")
        others = others if isinstance(others, Mapping) else {}
        return {
            name: self.fit(inner, properties.get(name, others), depth + 1)
            for name, inner in value.items()
        }

    def _fit_one_of(self, value: Any, branches: list[Any], depth: int) -> Any:
        """The value itself if a branch takes it, else as the first branch that can have it."""
        resolved = [self._resolved(branch) for branch in branches[:64]]
        for branch in resolved:
            if _is_of(value, self.types(branch)):
                return self.fit(value, branch, depth + 1)
        for branch in resolved:
            fitted = self.fit(value, branch, depth + 1)
            if _is_of(fitted, self.types(branch)):
                return fitted
        return value

    def _resolved(self, schema: Any) -> Any:
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


def _is_of(value: Any, types: tuple[str, ...]) -> bool:
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


def _of_type(value: Any, types: tuple[str, ...]) -> Any:
    if isinstance(value, float) and value.is_integer() and "integer" in types:
        return int(value) if "number" not in types and abs(value) < 2**53 else value
    if not types or _is_of(value, types):
        # Text for "null" is the only word that can mean something else where text may stand.
        return None if value == "null" and "null" in types else value
    if isinstance(value, str):
        return _from_text(value, types)
    if isinstance(value, (bool, int, float)) and "string" in types:
        return json.dumps(value)
    return value


def _from_text(text: str, types: tuple[str, ...]) -> Any:
    word = text.strip().lower()
    if "null" in types and word == "null":
        return None
    if "boolean" in types and word in _CONSTANTS:
        return _CONSTANTS[word]
    if "integer" in types and _INTEGER.fullmatch(text):
        return int(text)
    if "number" in types and _NUMBER.fullmatch(text):
        number = json.loads(str(int(text)) if _INTEGER.fullmatch(text) else _plain(text))
        return number if abs(number) != float("inf") else text
    if word[:1] in ("{", "[") and ("object" in types or "array" in types):
        try:
            value = json.loads(text, strict=False)
        except (ValueError, RecursionError):
            return text
        return value if _is_of(value, types) else text
    return text


def _plain(number: str) -> str:
    """A number without the leading zeros that JSON does not know."""
    sign, digits = ("-", number.strip()[1:]) if "-" in number.strip()[:1] else ("", number.strip())
    stripped = digits.lstrip("0")
    return sign + (stripped if stripped[:1].isdigit() else "0" + stripped)


def _of_enum(value: Any, schema: JsonSchema) -> Any:
    """A word of the list written as another type: `"1"` where 1 may stand."""
    allowed = schema.get("enum")
    if not isinstance(allowed, list) or value in allowed or not isinstance(value, str):
        return value
    same = [item for item in allowed if not isinstance(item, str) and json.dumps(item) == value]
    return same[0] if len(same) == 1 else value
