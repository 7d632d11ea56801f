"""Converts arguments of a tool call to the types of the tool's JSON schema. No I/O.

A value is changed only when its meaning is certain. Examples: text that is a number where the
schema wants a number; a number where it wants text; JSON in text where it wants an object, and
the other way round. Numbers keep the digits that the model wrote. Any other value stays as the
model wrote it; the client may check it. So do all arguments of a call that would take too many
steps.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from gateway.fitten.json_schema import (
    MAX_DEPTH,
    AllowedValues,
    SchemaParts,
    StepCounter,
    StepsExceeded,
)
from gateway.fitten.tools.reading.json_mending import (
    WrittenNumber,
    decode,
    encode,
    load_lenient_json,
    read_number,
)
from gateway.fitten.tools.reading.text_reader import NotFoundHere

_INTEGER = re.compile(r"-?\d{1,300}", re.ASCII)
_NUMBER = re.compile(r"-?\d{1,300}(\.\d{1,300})?([eE][+-]?\d{1,3})?", re.ASCII)
_MAX_NUMBER = 1000  # characters of a text that may be a number or a word of an enum
_BOOLEANS: dict[str, Any] = {"true": True, "false": False}
_CHOICES = ("anyOf", "oneOf")
_MAX_BRANCHES = 64
_MAX_REFERENCES = 8  # that lead from one to the next
_CHARACTERS = 32  # of text that is decoded as JSON in the time of a step
_MENDED_CHARACTERS = 8  # the same for text that has to be mended first

JsonSchema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Part:
    """Holds what one part of the schema says, prepared for many values."""

    types: tuple[str, ...]
    choices: tuple[list[Any], ...]
    all_of: list[Any]
    allowed: AllowedValues | None
    properties: dict[str, Any]
    others: Any
    items: Any


class ArgumentCoercion:
    """Converts values to the types of one JSON schema; follows `$ref` within it.

    root: the JSON schema of a tool's arguments. It must not change any more.
    steps: counts the steps of all calls of an answer.
    """

    def __init__(self, root: JsonSchema, steps: StepCounter | None = None) -> None:
        self._root = root
        self._steps = steps or StepCounter()
        self._parts: SchemaParts[_Part] = SchemaParts(root, self._prepare)

    def coerce_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of one call, converted; unchanged if that takes too many steps."""
        try:
            coerced = self.coerce(arguments)
        except StepsExceeded:
            return arguments
        return coerced if isinstance(coerced, dict) else arguments

    def coerce(self, value: Any, schema: Any = None, depth: int = 0) -> Any:
        """Return the value converted to the type of a schema, or unchanged.

        schema: a part of the root; the root itself unless given. Raises StepsExceeded.
        """
        self._steps.spend()
        schema = self._resolve(self._root if schema is None else schema)
        if not isinstance(schema, dict):
            return value
        if depth > MAX_DEPTH:
            self._steps.fail()
        part = self._parts.part(schema)
        for branches in part.choices:
            value = self._coerce_one_of(value, branches, depth)
        for inner in part.all_of:
            value = self.coerce(value, inner, depth + 1)
        value = self._coerce_type(value, part.types)
        if part.allowed is not None and isinstance(value, str):
            value = self._coerce_enum(value, part.allowed)
        if isinstance(value, dict):
            return {
                name: self.coerce(inner, part.properties.get(name, part.others), depth + 1)
                for name, inner in value.items()
            }
        if isinstance(value, list) and isinstance(part.items, dict):
            return [self.coerce(item, part.items, depth + 1) for item in value]
        return value

    def argument_types(self, name: str) -> tuple[str, ...]:
        """Return the types of one argument; none when the schema does not say."""
        try:
            root = self._resolve(self._root)
            properties = root.get("properties") if isinstance(root, dict) else None
            found = properties.get(name) if isinstance(properties, dict) else None
            return self._types(self._resolve(found))
        except StepsExceeded:
            return ()

    def _types(self, schema: Any) -> tuple[str, ...]:
        """Return the types that a schema names; `object` if it only has properties."""
        return self._parts.part(schema).types if isinstance(schema, dict) else ()

    def _prepare(self, schema: dict[str, Any]) -> _Part:
        named, allowed = schema.get("type"), schema.get("enum")
        properties, others = schema.get("properties"), schema.get("additionalProperties")
        types: tuple[str, ...] = ()
        if isinstance(named, str):
            types = (named,)
        elif isinstance(named, list):
            self._steps.spend_cheap(len(named))
            types = tuple(
                dict.fromkeys(name for name in named if isinstance(name, str) and name in _TYPES)
            )
        elif isinstance(properties, dict):
            types = ("object",)
        choices = (schema.get(name) for name in _CHOICES)
        all_of = schema.get("allOf")
        return _Part(
            types,
            tuple(c[:_MAX_BRANCHES] for c in choices if isinstance(c, list) and c),
            all_of if isinstance(all_of, list) else [],
            AllowedValues(allowed, self._steps) if isinstance(allowed, list) else None,
            properties if isinstance(properties, dict) else {},
            others if isinstance(others, dict) else {},
            schema.get("items"),
        )

    def _coerce_one_of(self, value: Any, branches: list[Any], depth: int) -> Any:
        """Convert the value by the first branch that it fits, else by the first that can."""
        self._steps.spend(len(branches))
        resolved = [self._resolve(branch) for branch in branches]
        for branch in resolved:
            if _has_type(value, self._types(branch)):
                return self.coerce(value, branch, depth + 1)
        for branch in resolved:
            coerced = self.coerce(value, branch, depth + 1)
            if _has_type(coerced, self._types(branch)):
                return coerced
        return value

    def _resolve(self, schema: Any) -> Any:
        """Return the schema that a `$ref` points to; {} for a reference outside the root."""
        for _ in range(_MAX_REFERENCES):
            reference = schema.get("$ref") if isinstance(schema, dict) else None
            if not isinstance(reference, str):
                break
            self._steps.spend()
            schema = self._parts.resolve(reference, self._steps)
        return schema

    def _coerce_type(self, value: Any, types: tuple[str, ...]) -> Any:
        if isinstance(value, float) and value.is_integer() and "integer" in types:
            return value if "number" in types else _as_integer(value)
        if not types or _has_type(value, types):
            # Of text where text is allowed, only the word "null" is converted.
            return None if value == "null" and "null" in types else value
        if isinstance(value, str):
            return self._coerce_text(value, types)
        if "string" not in types or value is None:
            return value
        self._steps.spend_value(value)
        try:
            # As people write it in a line: this text may become a file.
            return encode(value, compact=False)
        except (ValueError, RecursionError):
            return value

    def _coerce_text(self, text: str, types: tuple[str, ...]) -> Any:
        """Return the value that a text stands for, if it has one of the types; else the text."""
        self._steps.spend()
        stripped = text.strip()
        if stripped[:1] in ("{", "[") and ("object" in types or "array" in types):
            value = self._decode_text(text)
            return value if _has_type(value, types) else text
        if len(stripped) > _MAX_NUMBER:
            return text
        word = stripped.lower()
        if "null" in types and word == "null":
            return None
        if "boolean" in types and word in _BOOLEANS:
            return _BOOLEANS[word]
        is_integer = _INTEGER.fullmatch(stripped)
        if "integer" in types and is_integer:
            return int(stripped)
        if "number" in types and _NUMBER.fullmatch(stripped):
            number = read_number(_strip_zeros(stripped))
            if "e" in word and Decimal(repr(float(number))) == Decimal(stripped):
                number = float(number)  # written out
            return number if abs(number) != float("inf") else text
        return text

    def _decode_text(self, text: str) -> Any:
        """Return the JSON value in a text; the text if there is none."""
        self._steps.spend(len(text) // _CHARACTERS)
        try:
            return decode(text)
        except (ValueError, RecursionError):
            self._steps.spend(len(text) // _MENDED_CHARACTERS)
        try:
            return load_lenient_json(text)
        except NotFoundHere:
            return text

    def _coerce_enum(self, text: str, allowed: AllowedValues) -> Any:
        """Return the value of the enum that a text stands for, such as 1 for `"1"`."""
        if allowed.has(text, self._steps) or len(text) > _MAX_NUMBER:
            return text
        self._steps.spend(3)
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return text
        if isinstance(value, str) or json.dumps(value) != text:
            return text
        return value if allowed.has(value, self._steps) else text


_TYPES = frozenset(("string", "boolean", "null", "object", "array", "integer", "number"))


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


def _as_integer(value: float) -> float:
    """Return a float with an integral value as an integer, if no digit that was written is lost."""
    if abs(value) >= 2**53 or (
        isinstance(value, WrittenNumber)
        and (value.text == "-0" or Decimal(value.text) != int(value))
    ):
        return value
    return int(value)


def _strip_zeros(number: str) -> str:
    """Return a number without leading zeros, which JSON does not allow."""
    sign, digits = ("-", number[1:]) if number.startswith("-") else ("", number)
    stripped = digits.lstrip("0")
    return sign + (stripped if stripped[:1].isdigit() else "0" + stripped)
