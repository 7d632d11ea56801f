"""Checks a JSON value against a JSON schema, as far as that is safe and fast.

These keywords are checked:
- of any value: `type`, `enum`, `const`;
- of objects: `required`, `properties`, `additionalProperties`, `minProperties`, `maxProperties`;
- of arrays: `items`, `prefixItems`, `minItems`, `maxItems`;
- of strings: `minLength`, `maxLength`;
- of numbers: `minimum`, `maximum`, `exclusiveMinimum`, `exclusiveMaximum`, `multipleOf` (whole
  numbers only);
- of schemas: `allOf`, `anyOf`, `oneOf` (checked like `anyOf`), `$ref` within the schema.

Everything else is ignored. So a violation that is found is certain, but a value without one
may still be wrong. Ignored are above all:
- `pattern` and `format`, because a client's regular expression can run for ever;
- a $ref outside the schema, because nothing is fetched;
- `not`, `if` and similar conditions. If a part of them were ignored, they would report
  violations that are none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_MAX_STEPS = 50_000  # about 50 ms; a schema with references can need endlessly many
_MAX_DEPTH = 64
_MAX_NAME = 80  # characters of a name that a violation shows


def find_schema_violation(value: Any, schema: Any) -> str | None:
    """Return the first violation of the schema, with its path; None when none is found.

    value, schema: decoded JSON. A check that takes too long returns None.
    """
    try:
        return _SchemaChecker(schema).violation(value, schema, "$", 0)
    except _TooLong:
        return None


class _TooLong(Exception):
    """Reports that the check takes too many steps or is nested too deeply."""


class _SchemaChecker:
    """Checks one value against one schema.

    root: the whole schema, in which references are resolved.
    """

    def __init__(self, root: Any) -> None:
        self._root = root
        self._steps = _MAX_STEPS

    def violation(self, value: Any, schema: Any, path: str, depth: int) -> str | None:
        """Return the first violation of a part of the schema by a part of the value.

        path: where this part of the value is, such as `$.items[0]`. Raises _TooLong.
        """
        self.spend(1)
        if depth > _MAX_DEPTH:
            raise _TooLong
        if schema is False:
            return f"{path} is not allowed"
        if not isinstance(schema, dict):
            return None
        for keyword, rule in schema.items():
            simple = _VALUE_KEYWORDS.get(keyword)
            if simple is not None:
                if problem := simple(value, rule):
                    return f"{path} {problem}"
                continue
            nested = _SCHEMA_KEYWORDS.get(keyword)
            if nested is not None and (found := nested(self, value, rule, schema, path, depth + 1)):
                return found
        return None

    def spend(self, steps: int) -> None:
        """Count steps. Raises _TooLong when there were too many."""
        self._steps -= steps
        if self._steps < 0:
            raise _TooLong

    def resolve(self, pointer: str) -> Any:
        """Return the part of the schema that a $ref points to (RFC 6901).

        Returns True, which every value fits, for any other reference.
        """
        if pointer != "#" and not pointer.startswith("#/"):
            return True
        found = self._root
        for part in pointer.split("/")[1:]:
            self.spend(1)
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict) and name in found:
                found = found[name]
            elif isinstance(found, list) and name.isdecimal() and int(name[:9]) < len(found):
                found = found[int(name[:9])]
            else:
                return True
        return found


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": _is_number,
    "integer": lambda value: _is_number(value) and value == value // 1,
}


def _type(value: Any, rule: Any) -> str | None:
    names = rule if isinstance(rule, list) else [rule]
    known = [name for name in names if isinstance(name, str) and name in _TYPES]
    if len(known) < len(names) or any(_TYPES[name](value) for name in known):
        return None
    return f"is not of type {' or '.join(known)}"


def _equal(value: Any, other: Any) -> bool:
    if isinstance(value, bool) or isinstance(other, bool):
        return value is other
    return bool(value == other)


def _const(value: Any, rule: Any) -> str | None:
    return None if _equal(value, rule) else "is not the one value that is allowed"


def _minimum_check(measure: Callable[[Any], Any], problem: str) -> Callable[[Any, Any], str | None]:
    def check(value: Any, rule: Any) -> str | None:
        measured = measure(value)
        if measured is None or not _is_number(rule) or measured >= rule:
            return None
        return f"{problem} {rule}"

    return check


def _maximum_check(measure: Callable[[Any], Any], problem: str) -> Callable[[Any, Any], str | None]:
    def check(value: Any, rule: Any) -> str | None:
        measured = measure(value)
        if measured is None or not _is_number(rule) or measured <= rule:
            return None
        return f"{problem} {rule}"

    return check


def _length_of(
    kind: type[str] | type[list[Any]] | type[dict[str, Any]],
) -> Callable[[Any], int | None]:
    return lambda value: len(value) if isinstance(value, kind) else None


def _number(value: Any) -> Any:
    return value if _is_number(value) else None


def _exclusive_minimum(value: Any, rule: Any) -> str | None:
    if _is_number(value) and _is_number(rule) and value <= rule:
        return f"is not above {rule}"
    return None


def _exclusive_maximum(value: Any, rule: Any) -> str | None:
    if _is_number(value) and _is_number(rule) and value >= rule:
        return f"is not below {rule}"
    return None


def _multiple_of(value: Any, rule: Any) -> str | None:
    if type(value) is int and type(rule) is int and rule > 0 and value % rule:
        return f"is no multiple of {rule}"
    return None


# Keywords that need only the value and what the schema says for the keyword.
_VALUE_KEYWORDS: dict[str, Callable[[Any, Any], str | None]] = {
    "type": _type,
    "const": _const,
    "minProperties": _minimum_check(_length_of(dict), "has fewer members than"),
    "maxProperties": _maximum_check(_length_of(dict), "has more members than"),
    "minItems": _minimum_check(_length_of(list), "has fewer items than"),
    "maxItems": _maximum_check(_length_of(list), "has more items than"),
    "minLength": _minimum_check(_length_of(str), "has fewer characters than"),
    "maxLength": _maximum_check(_length_of(str), "has more characters than"),
    "minimum": _minimum_check(_number, "is below"),
    "maximum": _maximum_check(_number, "is above"),
    "exclusiveMinimum": _exclusive_minimum,
    "exclusiveMaximum": _exclusive_maximum,
    "multipleOf": _multiple_of,
}


def _enum(
    checker: _SchemaChecker, value: Any, rule: Any, _: Any, path: str, depth: int
) -> str | None:
    if not isinstance(rule, list):
        return None
    checker.spend(len(rule))
    if any(_equal(value, allowed) for allowed in rule):
        return None
    return f"{path} is none of the values that are allowed"


def _required(
    checker: _SchemaChecker, value: Any, rule: Any, _: Any, path: str, depth: int
) -> str | None:
    if isinstance(value, dict) and isinstance(rule, list):
        checker.spend(len(rule))
        for name in rule:
            if isinstance(name, str) and name not in value:
                return f"{path} lacks the member {name[:_MAX_NAME]!r}"
    return None


def _properties(
    checker: _SchemaChecker, value: Any, rule: Any, _: Any, path: str, depth: int
) -> str | None:
    if isinstance(value, dict) and isinstance(rule, dict):
        checker.spend(len(rule))
        for name, schema in rule.items():
            if name in value and (
                found := checker.violation(value[name], schema, _member_path(path, name), depth)
            ):
                return found
    return None


def _additional(
    checker: _SchemaChecker, value: Any, rule: Any, schema: Any, path: str, depth: int
) -> str | None:
    if not isinstance(value, dict) or "patternProperties" in schema:
        return None
    declared = schema.get("properties")
    for name, member in value.items():
        if isinstance(declared, dict) and name in declared:
            continue
        if found := checker.violation(member, rule, _member_path(path, name), depth):
            return found
    return None


def _items(
    checker: _SchemaChecker, value: Any, rule: Any, schema: Any, path: str, depth: int
) -> str | None:
    if not isinstance(value, list):
        return None
    if isinstance(rule, list):  # up to draft 2019-09, this is what prefixItems is now
        return _prefix_items(checker, value, rule, schema, path, depth)
    prefix = schema.get("prefixItems")
    start = len(prefix) if isinstance(prefix, list) else 0
    for index in range(start, len(value)):
        if found := checker.violation(value[index], rule, f"{path}[{index}]", depth):
            return found
    return None


def _prefix_items(
    checker: _SchemaChecker, value: Any, rule: Any, _: Any, path: str, depth: int
) -> str | None:
    if isinstance(value, list) and isinstance(rule, list):
        for index, (item, schema) in enumerate(zip(value, rule, strict=False)):
            if found := checker.violation(item, schema, f"{path}[{index}]", depth):
                return found
    return None


def _all_of(
    checker: _SchemaChecker, value: Any, rule: Any, _: Any, path: str, depth: int
) -> str | None:
    for schema in rule if isinstance(rule, list) else ():
        if found := checker.violation(value, schema, path, depth):
            return found
    return None


def _any_of(
    checker: _SchemaChecker, value: Any, rule: Any, _: Any, path: str, depth: int
) -> str | None:
    if not isinstance(rule, list) or not rule:
        return None
    violations = []
    for schema in rule:
        found = checker.violation(value, schema, path, depth)
        if found is None:
            return None
        violations.append(found)
    # The alternative whose violation lies deepest is most likely the one that was meant.
    return max(violations, key=lambda text: len(text.partition(" ")[0]))


def _ref(
    checker: _SchemaChecker, value: Any, rule: Any, _: Any, path: str, depth: int
) -> str | None:
    if not isinstance(rule, str):
        return None
    return checker.violation(value, checker.resolve(rule), path, depth)


# Keywords that need the other parts of the schema, or whose checks take several steps.
_SCHEMA_KEYWORDS: dict[str, Callable[[_SchemaChecker, Any, Any, Any, str, int], str | None]] = {
    "enum": _enum,
    "required": _required,
    "properties": _properties,
    "additionalProperties": _additional,
    "items": _items,
    "prefixItems": _prefix_items,
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _any_of,
    "$ref": _ref,
}


def _member_path(path: str, name: str) -> str:
    return f"{path}.{name[:_MAX_NAME]}"
