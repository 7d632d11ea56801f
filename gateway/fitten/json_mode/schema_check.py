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

from gateway.fitten.json_schema import (
    MAX_DEPTH,
    AllowedValues,
    SchemaParts,
    StepCounter,
    StepsExceeded,
)

_MAX_NAME = 80  # characters of a name that a violation shows
_SAFE_INTEGER = 2**64  # a larger one takes long to divide

Place = tuple[Any, ...]
"""Says where a part of the value is: the names and indexes that lead to it from the root."""

_Violation = tuple[Place, str]
_Rule = Callable[[Any, Place], _Violation | None]


def find_schema_violation(value: Any, schema: Any, steps: StepCounter | None = None) -> str | None:
    """Return the first violation of the schema, with its path; None when none is found.

    value, schema: decoded JSON.
    steps: counts the steps of all checks of a request. A check that takes too many returns None,
        and the counter says so.
    """
    checker = _SchemaChecker(schema, steps or StepCounter())
    try:
        found = checker.violation(value, schema, ())
    except StepsExceeded:
        return None
    return found and f"{_path(found[0])} {found[1]}"


class _SchemaChecker:
    """Checks values against one schema; each part of the schema is prepared once.

    root: the whole schema, in which references are resolved.
    """

    def __init__(self, root: Any, steps: StepCounter) -> None:
        self.steps = steps
        self._parts: SchemaParts[list[_Rule]] = SchemaParts(root, self._prepare)
        self._depth = 0

    def violation(self, value: Any, schema: Any, place: Place) -> _Violation | None:
        """Return the first violation of a part of the schema by a part of the value.

        Raises StepsExceeded.
        """
        self.steps.spend()
        if schema is False:
            return place, "is not allowed"
        if not isinstance(schema, dict):
            return None
        if self._depth > MAX_DEPTH:
            self.steps.fail()
        self._depth += 1
        try:
            rules = self._parts.part(schema)
            self.steps.spend(len(rules))
            for rule in rules:
                if found := rule(value, place):
                    return found
            return None
        finally:
            self._depth -= 1

    def resolve(self, pointer: str) -> Any:
        """Return the part of the schema that a $ref points to."""
        return self._parts.resolve(pointer, self.steps)

    def _prepare(self, schema: dict[str, Any]) -> list[_Rule]:
        """Return a check for each keyword of a part, in the order of the schema."""
        self.steps.spend_cheap(len(schema))
        rules: list[_Rule] = []
        for keyword, wanted in schema.items():
            simple = _VALUE_KEYWORDS.get(keyword)
            nested = _SCHEMA_KEYWORDS.get(keyword)
            if simple is not None:
                self.steps.spend()
                rules.append(_value_rule(simple, wanted))
            elif nested is not None:
                self.steps.spend()
                rule = nested(self, wanted, schema)
                if rule is not None:
                    rules.append(rule)
        return rules


def _value_rule(check: Callable[[Any, Any], str | None], wanted: Any) -> _Rule:
    def rule(value: Any, place: Place) -> _Violation | None:
        problem = check(value, wanted)
        return (place, problem) if problem else None

    return rule


def _path(place: Place) -> str:
    return "$" + "".join(
        f"[{step}]" if isinstance(step, int) else f".{step[:_MAX_NAME]}" for step in place
    )


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
    if type(value) is not int or type(rule) is not int or not 0 < rule < _SAFE_INTEGER:
        return None
    if -_SAFE_INTEGER < value < _SAFE_INTEGER and value % rule:
        return f"is no multiple of {rule}"
    return None


# Keywords that need only the value and what the schema says for the keyword.
_VALUE_KEYWORDS: dict[str, Callable[[Any, Any], str | None]] = {
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


def _type(checker: _SchemaChecker, wanted: Any, _: Any) -> _Rule | None:
    names = wanted if isinstance(wanted, list) else [wanted]
    checker.steps.spend_cheap(len(names))
    known = list(dict.fromkeys(n for n in names if isinstance(n, str) and n in _TYPES))
    if not all(isinstance(name, str) and name in _TYPES for name in names):
        return None  # an unknown type: nothing can be said
    checks = [_TYPES[name] for name in known]
    problem = f"is not of type {' or '.join(known)}"

    def rule(value: Any, place: Place) -> _Violation | None:
        return None if any(check(value) for check in checks) else (place, problem)

    return rule


def _allowed(
    checker: _SchemaChecker, values: list[Any], problem: str
) -> Callable[[Any, Place], _Violation | None]:
    allowed = AllowedValues(values, checker.steps)

    def rule(value: Any, place: Place) -> _Violation | None:
        return None if allowed.has(value, checker.steps) else (place, problem)

    return rule


def _enum(checker: _SchemaChecker, wanted: Any, _: Any) -> _Rule | None:
    if not isinstance(wanted, list):
        return None
    return _allowed(checker, wanted, "is none of the values that are allowed")


def _const(checker: _SchemaChecker, wanted: Any, _: Any) -> _Rule | None:
    return _allowed(checker, [wanted], "is not the one value that is allowed")


def _required(checker: _SchemaChecker, wanted: Any, _: Any) -> _Rule | None:
    if not isinstance(wanted, list):
        return None
    names = [name for name in wanted if isinstance(name, str)]

    def rule(value: Any, place: Place) -> _Violation | None:
        if isinstance(value, dict):
            checker.steps.spend_cheap(len(names))
            for name in names:
                if name not in value:
                    return place, f"lacks the member {name[:_MAX_NAME]!r}"
        return None

    return rule


def _properties(checker: _SchemaChecker, wanted: Any, _: Any) -> _Rule | None:
    if not isinstance(wanted, dict):
        return None

    def rule(value: Any, place: Place) -> _Violation | None:
        if isinstance(value, dict):
            checker.steps.spend_cheap(len(value))
            for name, member in value.items():
                if name in wanted and (
                    found := checker.violation(member, wanted[name], (*place, name))
                ):
                    return found
        return None

    return rule


def _additional(checker: _SchemaChecker, wanted: Any, schema: Any) -> _Rule | None:
    if "patternProperties" in schema:
        return None
    properties = schema.get("properties")
    declared = properties if isinstance(properties, dict) else {}

    def rule(value: Any, place: Place) -> _Violation | None:
        if isinstance(value, dict):
            checker.steps.spend_cheap(len(value))
            for name, member in value.items():
                if name not in declared and (
                    found := checker.violation(member, wanted, (*place, name))
                ):
                    return found
        return None

    return rule


def _items(checker: _SchemaChecker, wanted: Any, schema: Any) -> _Rule | None:
    if isinstance(wanted, list):  # up to draft 2019-09, this is what prefixItems is now
        return _prefix_items(checker, wanted, schema)
    prefix = schema.get("prefixItems")
    start = len(prefix) if isinstance(prefix, list) else 0

    def rule(value: Any, place: Place) -> _Violation | None:
        if isinstance(value, list):
            for index in range(start, len(value)):
                if found := checker.violation(value[index], wanted, (*place, index)):
                    return found
        return None

    return rule


def _prefix_items(checker: _SchemaChecker, wanted: Any, _: Any) -> _Rule | None:
    if not isinstance(wanted, list):
        return None

    def rule(value: Any, place: Place) -> _Violation | None:
        if isinstance(value, list):
            for index, (item, schema) in enumerate(zip(value, wanted, strict=False)):
                if found := checker.violation(item, schema, (*place, index)):
                    return found
        return None

    return rule


def _all_of(checker: _SchemaChecker, wanted: Any, _: Any) -> _Rule | None:
    if not isinstance(wanted, list):
        return None

    def rule(value: Any, place: Place) -> _Violation | None:
        for schema in wanted:
            if found := checker.violation(value, schema, place):
                return found
        return None

    return rule


def _any_of(checker: _SchemaChecker, wanted: Any, _: Any) -> _Rule | None:
    if not isinstance(wanted, list) or not wanted:
        return None

    def rule(value: Any, place: Place) -> _Violation | None:
        deepest: _Violation | None = None
        for schema in wanted:
            found = checker.violation(value, schema, place)
            if found is None:
                return None
            # The alternative whose violation lies deepest is most likely the one that was meant.
            if deepest is None or len(found[0]) > len(deepest[0]):
                deepest = found
        return deepest

    return rule


def _ref(checker: _SchemaChecker, wanted: Any, _: Any) -> _Rule | None:
    if not isinstance(wanted, str):
        return None

    def rule(value: Any, place: Place) -> _Violation | None:
        return checker.violation(value, checker.resolve(wanted), place)

    return rule


# Keywords that need the other parts of the schema, or whose checks take several steps. Each
# function prepares the check of one keyword; None if it has no effect.
_SCHEMA_KEYWORDS: dict[str, Callable[[_SchemaChecker, Any, Any], _Rule | None]] = {
    "type": _type,
    "enum": _enum,
    "const": _const,
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
