"""Arguments to their schema: what has one meaning is changed, everything else is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fitten.json_schema import MAX_STEPS
from gateway.fitten.tools.reading.argument_coercion import ArgumentCoercion
from tests.counting import calls_of

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "properties", "items", "anyOf", "$ref", "enum", "a"])
            | st.text(max_size=3),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("schema", "given_value", "fitted"),
    [
        ({"type": "integer"}, "3", 3),
        ({"type": "integer"}, " -07 ", -7),
        ({"type": "integer"}, "3.5", "3.5"),
        ({"type": "integer"}, "3 apples", "3 apples"),
        ({"type": "integer"}, 3.0, 3),
        ({"type": "integer"}, 3.5, 3.5),
        ({"type": "number"}, "3.5", 3.5),
        ({"type": "number"}, "-1e3", -1000.0),
        ({"type": "number"}, "007.5", 7.5),
        ({"type": "number"}, "1e999", "1e999"),
        ({"type": "number"}, "٣", "٣"),
        ({"type": "boolean"}, "true", True),
        ({"type": "boolean"}, "False", False),
        ({"type": "boolean"}, "yes", "yes"),
        ({"type": "boolean"}, 1, 1),
        ({"type": "string"}, 5, "5"),
        ({"type": "string"}, True, "true"),
        ({"type": "string"}, "null", "null"),
        ({"type": "string"}, "5", "5"),
        ({"type": ["string", "null"]}, "null", None),
        ({"type": ["integer", "null"]}, "null", None),
        ({"type": ["integer", "string"]}, "5", "5"),
        ({"type": "object"}, '{"a": 1}', {"a": 1}),
        ({"type": "object"}, "[1]", "[1]"),
        ({"type": "array", "items": {"type": "integer"}}, '["1", 2]', [1, 2]),
        ({"type": "array", "items": {"type": "integer"}}, "1", "1"),
        ({"enum": [1, 2]}, "2", 2),
        ({"enum": ["1", "2"]}, "2", "2"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "5", 5),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "5", "5"),
        ({"oneOf": [{"type": "boolean"}, {"type": "integer"}]}, "true", True),
        ({"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer"}}}, "5", 5),
        ({"$ref": "#/nowhere"}, "5", "5"),
        ({"$ref": "https://example.org/schema"}, "5", "5"),
        ({"allOf": [{"type": "integer"}]}, "5", 5),
        ({"properties": {"a": {"type": "integer"}}}, {"a": "1", "b": "2"}, {"a": 1, "b": "2"}),
        ({"additionalProperties": {"type": "integer"}}, {"a": "1"}, {"a": 1}),
        ({}, "5", "5"),
        ({"type": 7, "properties": 8, "items": 9, "enum": 10, "anyOf": 11}, "5", "5"),
    ],
)
def test_what_has_one_meaning_is_changed_and_nothing_else(
    schema: dict[str, Any], given_value: Any, fitted: Any
) -> None:
    found = ArgumentCoercion(schema).coerce(given_value)
    assert (found, type(found)) == (fitted, type(fitted))


@given(JSON, JSON)
def test_any_value_and_any_schema_give_valid_json(schema: Any, value: Any) -> None:
    root = schema if isinstance(schema, dict) else {"items": schema}
    fitted = ArgumentCoercion(root).coerce_arguments({"a": value})
    assert json.loads(json.dumps(fitted, allow_nan=False)) == fitted
    assert fitted.keys() == {"a"}


def test_a_schema_that_refers_to_itself_in_every_branch_ends() -> None:
    schema: dict[str, Any] = {"anyOf": [{"$ref": "#"}] * 50, "properties": {"a": {"$ref": "#"}}}
    coerced: list[Any] = []
    work = calls_of(
        lambda: coerced.append(ArgumentCoercion(schema).coerce_arguments({"a": {"a": "1"}}))
    )
    assert coerced == [{"a": {"a": "1"}}]
    assert work < 20 * MAX_STEPS
