"""Whatever the schema and the value, the work is bounded, and what was not checked is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway.fitten.json_mode.schema_check import find_schema_violation
from gateway.fitten.json_schema import (
    MAX_STEPS,
    AllowedValues,
    SchemaParts,
    StepCounter,
    StepsExceeded,
)
from gateway.fitten.tools.reading.argument_coercion import ArgumentCoercion
from tests.counting import calls_of

Bomb = tuple[Any, dict[str, Any]]  # a value and a schema


def doubling(n: int) -> dict[str, Any]:
    """References of which each leads to two more."""
    defs: dict[str, Any] = {
        f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(n)
    }
    return {"$defs": defs | {f"d{n}": {}}, "$ref": "#/$defs/d0"}


def chain(n: int) -> dict[str, Any]:
    defs: dict[str, Any] = {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(n)}
    return {"$defs": defs | {f"d{n}": {"type": "string"}}, "items": {"$ref": "#/$defs/d0"}}


def nested_choices(n: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "boolean"}
    for _ in range(min(n, 60)):
        schema = {"anyOf": [schema, {"type": "boolean"}, schema]}
    return schema


BOMBS: dict[str, Callable[[int], Bomb]] = {
    "an enum of numbers": lambda n: (
        [f"v{i}" for i in range(300)],
        {"items": {"enum": list(range(n))}},
    ),
    "an enum of texts": lambda n: (["x"] * n, {"items": {"enum": [f"v{i}" for i in range(n)]}}),
    "an enum of lists": lambda n: (
        [[*range(100), "x"]] * 300,
        {"items": {"enum": [[*range(100), i] for i in range(n // 100)]}},
    ),
    "a const of a long list": lambda n: ([[0] * n] * 300, {"items": {"const": [0] * n}}),
    "a long list of types": lambda n: ([0.5] * 300, {"items": {"type": ["string"] * n}}),
    "unknown types": lambda n: ([0.5] * 300, {"items": {"type": ["string", "?"] * n}}),
    "required": lambda n: (
        [dict.fromkeys(map(str, range(n)))] * 300,
        {"items": {"required": list(map(str, range(n)))}},
    ),
    "properties": lambda n: (
        [dict.fromkeys(map(str, range(n // 10)), "1")] * 300,
        {"items": {"properties": {str(i): {"type": "integer"} for i in range(n)}}},
    ),
    "other properties": lambda n: (
        {str(i): "1" for i in range(n)},
        {"additionalProperties": {"anyOf": [{"type": "integer"}] * 60}},
    ),
    "keywords": lambda n: ([0] * 300, {"items": {str(i): 0 for i in range(n)}}),
    "references that double": lambda n: ([1] * 300, {"items": doubling(n // 100)}),
    "a chain of references": lambda n: ([1] * 300, chain(n)),
    "a reference to itself": lambda n: ([1] * n, {"items": {"$ref": "#/items"}}),
    "a long reference": lambda n: ([1] * 300, {"items": {"$ref": "#/" + "items/" * n}}),
    "many long references": lambda n: (
        [1],
        {"items": {"allOf": [{"$ref": f"#/{'a/' * (n // 10)}{i}"} for i in range(300)]}},
    ),
    "choices in choices": lambda n: (["x"] * 300, {"items": nested_choices(n)}),
    "many choices": lambda n: (["x"] * n, {"items": {"anyOf": [{"type": "integer"}] * n}}),
    "all of many": lambda n: (["x"] * n, {"items": {"allOf": [{"minLength": 1}] * n}}),
    "JSON in a text": lambda n: (
        "[" + "[]," * n + "[]]",
        {"anyOf": [{"type": "object"}] * 64},
    ),
    "a deep value": lambda n: (deep(n), {"$ref": "#/$defs/l", "$defs": {"l": {
        "items": {"$ref": "#/$defs/l"}}}}),
    "large numbers": lambda n: ([10**4000] * 300, {"items": {"multipleOf": 3 * 10**3000}}),
}  # fmt: skip


def deep(n: int) -> Any:
    value: Any = 1
    for _ in range(min(n, 300)):
        value = [value]
    return value


def check(bomb: Bomb) -> Callable[[], object]:
    return lambda: find_schema_violation(*bomb)


def coerce(bomb: Bomb) -> Callable[[], object]:
    schema = {"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": bomb[1]}}
    return lambda: ArgumentCoercion(schema).coerce_arguments({"a": bomb[0]})


@pytest.mark.parametrize("work", [check, coerce])
@pytest.mark.parametrize("name", BOMBS)
def test_no_schema_costs_more_than_its_size_or_the_limit(
    name: str, work: Callable[[Bomb], Callable[[], object]]
) -> None:
    small, large = (calls_of(work(BOMBS[name](n))) for n in (2_000, 20_000))
    assert large < 12 * small + 1000
    assert large < 25 * MAX_STEPS


class Compared(int):
    """Counts how often it is compared with another value."""

    count = 0

    def __eq__(self, other: object) -> bool:
        Compared.count += 1
        return int(self) == other

    __hash__ = int.__hash__


@pytest.mark.parametrize("work", [check, coerce])
def test_a_value_is_not_compared_with_each_value_of_an_enum(
    work: Callable[[Bomb], Callable[[], object]],
) -> None:
    schema = {"items": {"enum": [Compared(i) for i in range(5_000)]}}
    Compared.count = 0
    work(([f"v{i}" for i in range(300)], schema))()
    assert Compared.count < 1_000  # 1.5 million pairs


@pytest.mark.parametrize(
    ("values", "value", "found"),
    [
        ([1], 1, True),
        ([1], 1.0, True),
        ([1], True, False),
        ([True], 1, False),
        ([False], False, True),
        ([None], None, True),
        (["1"], 1, False),
        ([[1, 2]], [1, 2], True),
        ([{"a": [1]}], {"a": [1]}, True),
        ([{"a": [1]}], {"a": [2]}, False),
        ([], 1, False),
        ([[]], {}, False),
    ],
)
def test_a_value_is_found_among_those_allowed(values: list[Any], value: Any, found: bool) -> None:
    steps = StepCounter()
    assert AllowedValues(values, steps).has(value, steps) is found


def test_what_was_not_checked_is_known() -> None:
    steps = StepCounter(100)
    assert find_schema_violation([1] * 10, {"items": {"type": "string"}}, steps) is not None
    assert not steps.exceeded
    assert find_schema_violation([1] * 200, {"items": {"type": "integer"}}, steps) is None
    assert steps.exceeded


def test_the_steps_of_all_calls_count_together() -> None:
    steps = StepCounter(100)
    coercion = ArgumentCoercion({"additionalProperties": {"type": "integer"}}, steps)
    arguments = {str(i): "1" for i in range(30)}
    found = [coercion.coerce_arguments(dict(arguments)) for _ in range(5)]
    assert found[0] == dict.fromkeys(arguments, 1)
    assert found[-1] == arguments
    assert steps.exceeded


def test_each_part_of_a_schema_is_prepared_once() -> None:
    part = {"type": "integer"}
    prepared: list[Any] = []

    def prepare(schema: dict[str, Any]) -> int:
        prepared.append(schema)
        return len(prepared)

    parts = SchemaParts({"a": part}, prepare)
    steps = StepCounter(10)
    for _ in range(1000):  # more often than there are steps
        assert parts.part(parts.resolve("#/a", steps)) == 1
    assert prepared == [part]
    with pytest.raises(StepsExceeded):
        parts.resolve("#/" + "a" * 1000, steps)
