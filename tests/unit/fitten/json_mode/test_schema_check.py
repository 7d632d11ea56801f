"""What certainly does not fit a schema is found; what cannot be decided safely passes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fitten.json_mode.schema_check import find_schema_violation
from gateway.fitten.json_schema import MAX_STEPS
from tests.counting import calls_of

TREE = {
    "type": "object",
    "properties": {"value": {"type": "integer"}, "next": {"$ref": "#"}},
    "required": ["value"],
    "additionalProperties": False,
}
DEFS = {
    "$defs": {"a/b": {"enum": ["x", 1, None]}, "p": {"$ref": "#/$defs/a~1b"}},
    "items": {"$ref": "#/$defs/p"},
}

FITS: list[tuple[Any, Any]] = [
    (1, {}),
    (1, True),
    (1, "no schema"),
    (1, {"type": "integer"}),
    (1.0, {"type": "integer"}),
    (1, {"type": "number"}),
    (1, {"type": ["string", "integer"]}),
    (1, {"type": "whatever"}),
    (None, {"type": "null"}),
    ("a", {"const": "a"}),
    (1.0, {"const": 1}),
    ("äöü", {"maxLength": 3}),
    (5, {"maxLength": 3, "required": ["a"], "minItems": 7}),
    (10, {"multipleOf": 5, "minimum": 10, "maximum": 10}),
    ({"a": 1, "b": "x"}, {"properties": {"a": {"type": "integer"}}}),
    ({"a": 1}, {"additionalProperties": {"type": "integer"}}),
    ({"a1": 1}, {"patternProperties": {"a": {}}, "additionalProperties": False}),
    ([1, "a"], {"prefixItems": [{"type": "integer"}], "items": {"type": "string"}}),
    (1, {"anyOf": [{"type": "string"}, {"type": "integer"}]}),
    (1, {"oneOf": [{"type": "number"}, {"type": "integer"}]}),
    ({"value": 1, "next": {"value": 2}}, TREE),
    (["x", 1, None], DEFS),
    # Passed over, whatever they say.
    ("a" * 50 + "!", {"pattern": "^(a+)+$"}),
    ("x", {"format": "date"}),
    ("x", {"not": {"type": "string"}}),
    ("x", {"$ref": "http://127.0.0.1:9/schema.json"}),
    ("x", {"$ref": "file:///etc/passwd"}),
    ("x", {"$ref": "#/nowhere"}),
    ("x", {"$ref": "#named"}),
    # Nonsense in the place of a schema.
    ({}, {"properties": 7, "required": "a", "minProperties": "x", "enum": 5, "anyOf": []}),
    ([1], {"items": 7, "prefixItems": {}, "$ref": [], "type": [[]], "multipleOf": 0}),
]

MISSES: list[tuple[Any, Any, str]] = [
    (1, False, "$ "),
    (True, {"type": "integer"}, "$ is not of type integer"),
    (1.5, {"type": "integer"}, "$ is not of type integer"),
    (True, {"type": "number"}, "number"),
    ("1", {"type": ["integer", "null"]}, "integer or null"),
    (True, {"const": 1}, "one value"),
    (1, {"enum": [True, "1"]}, "none of the values"),
    ("", {"minLength": 1}, "fewer characters than 1"),
    ("ab", {"maxLength": 1}, "more characters than 1"),
    (1, {"minimum": 2}, "below 2"),
    (1, {"exclusiveMinimum": 1}, "above 1"),
    (1, {"exclusiveMaximum": 1}, "below 1"),
    (7, {"multipleOf": 5}, "multiple of 5"),
    ([], {"minItems": 1}, "fewer items"),
    ([1, 2], {"maxItems": 1}, "more items"),
    ({}, {"minProperties": 1}, "fewer members"),
    ({}, {"required": ["name"]}, "$ lacks the member 'name'"),
    ({"a": {"b": [0, "x"]}}, {"properties": {"a": {"properties": {"b": {"items": {
        "type": "integer"}}}}}}, "$.a.b[1] is not of type integer"),
    ({"x": 1}, {"additionalProperties": False}, "$.x is not allowed"),
    ({"value": 1, "next": {"value": "2"}}, TREE, "$.next.value"),
    ({"value": 1, "next": {"value": 2, "y": 0}}, TREE, "$.next.y is not allowed"),
    (["y"], DEFS, "$[0] is none"),
    ([1, 2], {"prefixItems": [{}], "items": {"type": "string"}}, "$[1]"),
    (["a"], {"items": [{"type": "integer"}]}, "$[0]"),
    (1, {"allOf": [{"type": "integer"}, {"minimum": 5}]}, "below 5"),
    ({"a": {"b": 1}}, {"anyOf": [{"type": "string"}, {"properties": {"a": {"properties": {
        "b": {"type": "string"}}}}}]}, "$.a.b is not of type string"),
    (None, {"oneOf": [{"type": "string"}, {"type": "integer"}]}, "$ is not"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "schema"), FITS)
def test_what_fits_or_cannot_be_decided_passes(value: Any, schema: Any) -> None:
    assert find_schema_violation(value, schema) is None


@pytest.mark.parametrize(("value", "schema", "words"), MISSES)
def test_what_does_not_fit_is_named_with_its_place(value: Any, schema: Any, words: str) -> None:
    assert words in (find_schema_violation(value, schema) or "")


def bomb(depth: int) -> dict[str, Any]:
    """A schema of references that asks for two to the power of `depth` looks."""
    defs: dict[str, Any] = {
        f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(depth)
    }
    return {"$defs": defs | {f"d{depth}": {}}, "$ref": "#/$defs/d0"}


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (1, {"$ref": "#"}),
        (1, {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}),
        (1, bomb(25)),
        ([[]] * 100_000, {"items": {"anyOf": [{"type": "null"}] * 100}}),
        ({str(i): i for i in range(1000)}, {"properties": {str(i): {"enum": [*range(1000, 2000)]}
         for i in range(1000)}}),
        ([{}] * 10_000, {"items": {"required": ["a"] * 0, "properties": {
            str(i): {} for i in range(10_000)}}}),
    ],
)  # fmt: skip
def test_no_schema_takes_long(value: Any, schema: Any) -> None:
    work = calls_of(lambda: find_schema_violation(value, schema))
    assert work < 20 * MAX_STEPS


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=15,
)
KEYWORDS = st.sampled_from(
    [
        *("type", "enum", "const", "required", "properties", "additionalProperties"),
        *("items", "prefixItems", "allOf", "anyOf", "oneOf", "$ref"),
        *("minimum", "maximum", "minLength", "maxItems", "multipleOf", "exclusiveMinimum"),
        *("$defs",),
    ]
)
SCHEMAS = st.recursive(
    JSON | st.sampled_from(["object", "integer", "#", "#/$defs/a", "#/0"]),
    lambda inner: st.dictionaries(KEYWORDS, inner, max_size=4) | st.lists(inner, max_size=3),
    max_leaves=15,
)


@given(JSON, SCHEMAS)
def test_no_schema_whatever_raises(value: Any, schema: Any) -> None:
    assert find_schema_violation(value, schema) is None or isinstance(
        find_schema_violation(value, schema), str
    )
