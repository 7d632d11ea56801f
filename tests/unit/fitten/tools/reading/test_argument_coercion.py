"""Arguments to their schema: what has one meaning is changed, everything else is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.fitten.json_schema import MAX_STEPS
from gateway.fitten.tools.reading.argument_coercion import ArgumentCoercion
from gateway.fitten.tools.reading.interpretation import ToolInterpreter
from gateway.generation.request import Tool
from tests.counting import calls_of
from tests.unit.fitten.tools.reading.test_json_mending import odd

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


NUMBER_LIST = {"type": "array", "items": {"type": "number"}}


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
        ({"type": "string"}, {"name": "x", "private": True}, '{"name": "x", "private": true}'),
        ({"type": "string"}, {"b": ["好", None], "a": {}}, '{"b": ["好", null], "a": {}}'),
        ({"type": "string"}, [1, 2.5, "“"], '[1, 2.5, "“"]'),
        ({"type": "string"}, [], "[]"),
        ({"type": "string"}, None, None),
        ({"type": ["string", "null"]}, {"a": 1}, '{"a": 1}'),
        ({"type": ["string", "object"]}, {"a": 1}, {"a": 1}),
        ({"type": ["string", "array"]}, {"a": 1}, '{"a": 1}'),
        ({"anyOf": [{"type": "string"}, {"type": "array"}]}, ["a"], ["a"]),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, ["a"], '["a"]'),
        ({"items": {"type": "string"}}, [{"a": 1}, "b"], ['{"a": 1}', "b"]),
        (
            {"properties": {"files": {"items": {"properties": {"text": {"type": "string"}}}}}},
            {"files": '[{"text": {"a": 1}}]'},
            {"files": '[{"text": {"a": 1}}]'},
        ),
        (
            {"properties": {"f": {"type": "array", "items": {"properties": {"t": NUMBER_LIST}}}}},
            {"f": '[{"t": "[\'1\', 2,]"}]'},
            {"f": [{"t": [1, 2]}]},
        ),
        ({"type": "object"}, "{'a': True}", {"a": True}),
        ({"type": "object"}, "{'it's'}", "{'it's'}"),
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


@pytest.mark.parametrize(
    ("kind", "written", "text"),
    [
        ("string", "1.10", '"1.10"'),
        ("string", "-0", '"-0"'),
        ("string", "1e400", '"1e400"'),
        ("string", "12345678901234567890.123", '"12345678901234567890.123"'),
        ("string", "[1.10, 1e5]", '"[1.10, 1e5]"'),
        ("string", '{"v": 1.0}', '"{\\"v\\": 1.0}"'),
        ("number", "1.10", "1.10"),
        ("number", '"1.10"', "1.10"),
        ("number", '"007.50"', "7.50"),
        ("number", '"-0"', "-0"),
        ("number", "1e400", "1e400"),
        ("number", '"1e400"', '"1e400"'),
        ("number", '"12345678901234567890.123"', "12345678901234567890.123"),
        ("integer", "123456789012345678901234567890", "123456789012345678901234567890"),
        ("integer", '"123456789012345678901234567890"', "123456789012345678901234567890"),
        ("integer", "1.0", "1"),
        ("integer", "2e3", "2000"),
        ("integer", "-0", "-0"),
        ("integer", "4503599627370496.4", "4503599627370496.4"),
        ("integer", "1e30", "1e30"),
        ("array", '"[1.10, -0]"', "[1.10,-0]"),
        ("object", '"{\\"a\\": 1.10}"', '{"a":1.10}'),
    ],
)
def test_numbers_keep_the_digits_that_the_model_wrote(kind: str, written: str, text: str) -> None:
    schema = {"properties": {"a": {"type": kind}}}
    interpreter = ToolInterpreter([Tool("f", "", schema)])
    assert interpreter.call("f", f'{{"a": {written}}}').arguments == f'{{"a":{text}}}'


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=30) | odd)
def test_every_character_of_a_string_is_passed_on(text: str) -> None:
    """Quotes, full-width signs, entities, emoji: what the model wrote is what the client gets."""
    schema = {"properties": {"a": {"type": "string"}, "b": {"type": "string"}}}
    interpreter = ToolInterpreter([Tool("f", "", schema)])
    value = {"a": text, "b": {text: [text]}}
    for ascii_only in (True, False):
        call = interpreter.call("f", json.dumps(value, ensure_ascii=ascii_only))
        found = json.loads(call.arguments)
        assert found["a"] == text
        assert json.loads(found["b"]) == value["b"]


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
