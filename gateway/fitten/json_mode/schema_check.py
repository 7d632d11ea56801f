"""Whether a JSON value fits a JSON schema, as far as can be said safely and in little time.

Checked: type, enum, const, required, properties, additionalProperties, minProperties,
maxProperties, items, prefixItems, minItems, maxItems, minLength, maxLength, minimum,
maximum, exclusiveMinimum, exclusiveMaximum, multipleOf of whole numbers, allOf, anyOf,
oneOf (as anyOf), and $ref within the schema.

Everything else is passed over, so what does not fit is certain and what fits is not.
Above all: `pattern` and `format`, because a caller's regular expression can take for
ever, and a $ref to anywhere else, because nothing is ever fetched. `not`, `if` and
conditions like them would turn what was passed over into a wrong refusal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_STEPS = 50_000  # some 50 ms; a schema of references can ask for endlessly many
_DEPTH = 64
_SHOWN = 80


def schema_fault(value: Any, schema: Any) -> str | None:
    """The first thing about the value that does not fit, and where; None where nothing is found.

    value, schema: as a JSON decoder gives them. A check that takes too long finds nothing.
    """
    try:
        return _SchemaChecker(schema).fault(value, schema, "$", 0)
    except _TooLong:
        return None


class _TooLong(Exception):
    """The check costs more than it is worth."""


class _SchemaChecker:
    """One value's check against one schema."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._steps = _STEPS

    def fault(self, value: Any, schema: Any, path: str, depth: int) -> str | None:
        self.spend(1)
        if depth > _DEPTH:
            raise _TooLong
        if schema is False:
            return f"{path} is not allowed"
        if not isinstance(schema, dict):
            return None
        for keyword, rule in schema.items():
            simple = _SIMPLE.get(keyword)
            if simple is not None:
                if complaint := simple(value, rule):
                    return f"{path} {complaint}"
                continue
            nested = _NESTED.get(keyword)
            if nested is not None and (found := nested(self, value, rule, schema, path, depth + 1)):
                return found
        return None

    def spend(self, steps: int) -> None:
        self._steps -= steps
        if self._steps < 0:
            raise _TooLong

    def referred(self, pointer: str) -> Any:
        """The part of the schema that a reference means (RFC 6901), or True for any other."""
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


def _same(value: Any, other: Any) -> bool:
    if isinstance(value, bool) or isinstance(other, bool):
        return value is other
    return bool(value == other)


def _const(value: Any, rule: Any) -> str | None:
    return None if _same(value, rule) else "is not the one value that is allowed"


def _at_least(measure: Callable[[Any], Any], complaint: str) -> Callable[[Any, Any], str | None]:
    def check(value: Any, rule: Any) -> str | None:
        measured = measure(value)
        if measured is None or not _is_number(rule) or measured >= rule:
            return None
        return f"{complaint} {rule}"

    return check


def _at_most(measure: Callable[[Any], Any], complaint: str) -> Callable[[Any, Any], str | None]:
    def check(value: Any, rule: Any) -> str | None:
        measured = measure(value)
        if measured is None or not _is_number(rule) or measured <= rule:
            return None
        return f"{complaint} {rule}"

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


_SIMPLE: dict[str, Callable[[Any, Any], str | None]] = {
    "type": _type,
    "const": _const,
    "minProperties": _at_least(_length_of(dict), "has fewer members than"),
    "maxProperties": _at_most(_length_of(dict), "has more members than"),
    "minItems": _at_least(_length_of(list), "has fewer items than"),
    "maxItems": _at_most(_length_of(list), "has more items than"),
    "minLength": _at_least(_length_of(str), "has fewer characters than"),
    "maxLength": _at_most(_length_of(str), "has more characters than"),
    "minimum": _at_least(_number, "is below"),
    "maximum": _at_most(_number, "is above"),
    "exclusiveMinimum": _exclusive_minimum,
    "exclusiveMaximum": _exclusive_maximum,
    "multipleOf": _multiple_of,
}


def _enum(
    check: _SchemaChecker, value: Any, rule: Any, _: Any, path: str, depth: int
) -> str | None:
    if not isinstance(rule, list):
        return None
    check.spend(len(rule))
    if any(_same(value, allowed) for allowed in rule):
        return None
    return f"{path} is none of the values that are allowed"


def _required(
    check: _SchemaChecker, value: Any, rule: Any, _: Any, path: str, depth: int
) -> str | None:
    if isinstance(value, dict) and isinstance(rule, list):
        check.spend(len(rule))
        for name in rule:
            if isinstance(name, str) and name not in value:
                return f"{path} lacks the member {name[:_SHOWN]!r}"
    return None


def _properties(
    check: _SchemaChecker, value: Any, rule: Any, _: Any, path: str, depth: int
) -> str | None:
    if isinstance(value, dict) and isinstance(rule, dict):
        check.spend(len(rule))
        for name, schema in rule.items():
            if name in value and (
                found := check.fault(value[name], schema, _below(path, name), depth)
            ):
                return found
    return None


def _additional(
    check: _SchemaChecker, value: Any, rule: Any, schema: Any, path: str, depth: int
) -> str | None:
    if not isinstance(value, dict) or "patternProperties" in schema:
        return None
    declared = schema.get("properties")
    for name, member in value.items():
        if isinstance(declared, dict) and name in declared:
            continue
        if found := check.fault(member, rule, _below(path, name), depth):
            return found
    return None


def _items(
    check: _SchemaChecker, value: Any, rule: Any, schema: Any, path: str, depth: int
) -> str | None:
    if not isinstance(value, list):
        return None
    if isinstance(rule, list):  # until draft 2019-09 the other's name
        return _prefix_items(check, value, rule, schema, path, depth)
    prefix = schema.get("prefixItems")
    start = len(prefix) if isinstance(prefix, list) else 0
    for index in range(start, len(value)):
        if found := check.fault(value[index], rule, f"{path}[{index}]", depth):
            return found
    return None


def _prefix_items(
    check: _SchemaChecker, value: Any, rule: Any, _: Any, path: str, depth: int
) -> str | None:
    if isinstance(value, list) and isinstance(rule, list):
        for index, (item, schema) in enumerate(zip(value, rule, strict=False)):
            if found := check.fault(item, schema, f"{path}[{index}]", depth):
                return found
    return None


def _all_of(
    check: _SchemaChecker, value: Any, rule: Any, _: Any, path: str, depth: int
) -> str | None:
    for schema in rule if isinstance(rule, list) else ():
        if found := check.fault(value, schema, path, depth):
            return found
    return None


def _any_of(
    check: _SchemaChecker, value: Any, rule: Any, _: Any, path: str, depth: int
) -> str | None:
    if not isinstance(rule, list) or not rule:
        return None
    faults = []
    for schema in rule:
        found = check.fault(value, schema, path, depth)
        if found is None:
            return None
        faults.append(found)
    # The alternative that was followed farthest is most likely the one that was meant.
    return max(faults, key=lambda text: len(text.partition(" ")[0]))


def _ref(check: _SchemaChecker, value: Any, rule: Any, _: Any, path: str, depth: int) -> str | None:
    if not isinstance(rule, str):
        return None
    return check.fault(value, check.referred(rule), path, depth)


_NESTED: dict[str, Callable[[_SchemaChecker, Any, Any, Any, str, int], str | None]] = {
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


def _below(path: str, name: str) -> str:
    return f"{path}.{name[:_SHOWN]}"
