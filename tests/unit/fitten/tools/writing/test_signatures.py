"""Tools as signatures: nothing of a schema is lost, nothing is forged, work stays bounded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from emulator.scenarios.signatures import Signature, read_signatures
from gateway.fitten.tools.writing.prompt import _describe_tool
from gateway.fitten.tools.writing.signatures import (
    RenderedTools,
    RenderingCache,
    example_arguments,
    render_tools,
)
from gateway.generation.request import Tool
from tests.counting import calls_of
from tests.unit.fitten.tools.writing.normal_form import normal_form

# The tools that Claude Code 2.1 offers; descriptions are cut in the middle.
CLAUDE_CODE = [
    Tool(tool["name"], tool["description"], tool["parameters"])
    for tool in json.loads(Path(__file__).with_name("claude_code_tools.json").read_text("utf-8"))
]
EMPTY = {"type": "object", "properties": {}}


def rendered(*tools: Tool, budget: int = 10_000_000, named: str | None = None) -> RenderedTools:
    return render_tools(tools, budget=budget, named=named, cache=RenderingCache())


def text_of(schema: Any, description: str = "") -> str:
    return rendered(Tool("tool", description, schema)).text


def read_one(schema: Any) -> Signature:
    (tool,) = read_signatures(text_of(schema))
    assert tool.name == "tool"
    return tool


def assert_lossless(schema: Any) -> None:
    read = read_one(schema).parameters
    # Arguments are an object, whether the schema says so or not.
    wanted = {"type": "object"} | schema if isinstance(schema, dict) else schema
    if "\n (arguments) " in text_of(schema):
        wanted = schema
    assert normal_form(read, read) == normal_form(wanted, wanted)


def members(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def test_27_tools_take_at_most_half_of_the_characters_and_lose_nothing() -> None:
    text = rendered(*CLAUDE_CODE, budget=40_000)
    assert (text.stage, text.shortened) == (0, 0)
    assert len(text.text) * 2 <= len("\n".join(map(_describe_tool, CLAUDE_CODE)))
    read = read_signatures(text.text)
    assert [tool.name for tool in read] == [tool.name for tool in CLAUDE_CODE]
    for given_tool, found in zip(CLAUDE_CODE, read, strict=True):
        assert found.description == given_tool.description.strip()
        schema = given_tool.parameters
        assert normal_form(found.parameters, found.parameters) == normal_form(schema, schema)


def test_a_tool_is_one_line_per_argument() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "path": {"type": "string", "description": "The path,\nabsolute", "title": "Path"},
            "mode": {"enum": ["a", "b", None], "type": ["string", "null"], "default": "a"},
            "size": {"type": "integer", "minimum": 1, "maximum": 9, "multipleOf": 2},
            "name": {"type": "string", "pattern": '^"x', "minLength": 3},
            "tags": {"type": "array", "items": {"type": "string", "format": "uri"}},
            "more": {"type": "object", "additionalProperties": {"type": "number"}},
            "when": {"anyOf": [{"type": "integer"}, {"type": "null"}], "x-unit": {"of": "s"}},
        },
        "required": ["path", "size"],
        "additionalProperties": False,
    }
    assert text_of(schema, "Does it.\n\nTwice.") == (
        "tool: Does it.\n"
        "|\n"
        "| Twice.\n"
        " path: The path,\n"
        " | absolute\n"
        ' mode? "a"|"b"|null = "a"\n'
        " size integer (1..9, multipleOf 2)\n"
        ' name? string (pattern "^\\"x", length >= 3)\n'
        ' tags? (string (format "uri"))[]\n'
        " more? {[key]: number}\n"
        ' when? (integer|null) (x-unit {"of":"s"})'
    )


def test_members_stand_below_their_object_with_an_example() -> None:
    point = members(x={"type": "number"}, y={"type": "number"}) | {"required": ["x"]}
    circle = members(r={"type": "number"}) | {"description": "A circle"}
    schema = members(at={"type": "array", "items": point}, form={"oneOf": [point, circle]})
    assert text_of(schema | {"required": ["at"]}) == (
        "tool\n"
        " at object[]\n"
        "  x number\n"
        "  y? number\n"
        ' form? oneOf(object 1, object 2 (about "A circle"))\n'
        "  (1)\n"
        "  x number\n"
        "  y? number\n"
        "  (2)\n"
        "  r? number\n"
        ' (example) {"at":[{"x":1}]}'
    )
    assert_lossless(schema)


def test_a_definition_stands_where_it_is_used_once_and_is_named_otherwise() -> None:
    tree = members(left={"$ref": "#/$defs/Tree"}, value={"type": "integer"})
    schema = {
        **members(
            tree={"$ref": "#/$defs/Tree", "description": "A tree"},
            mode={"allOf": [{"$ref": "#/$defs/Mode"}], "default": "on"},
            once={"$ref": "#/definitions/Once"},
        ),
        "$defs": {"Tree": tree, "Mode": {"enum": ["on", "off"], "title": "Mode"}},
        "definitions": {"Once": members(a={"type": "boolean"})},
    }
    assert text_of(schema) == (
        "tool\n"
        " tree? Tree: A tree\n"
        ' mode? "on"|"off" = "on"\n'
        " once? object\n"
        "  a? boolean\n"
        " (where Tree) object\n"
        "  left? Tree\n"
        "  value? integer\n"
        ' (example) {"tree":{"left":{}}}'
    )
    assert_lossless(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        EMPTY,
        True,
        False,
        5,
        "text",
        [{}],
        {"type": "string"},
        {"type": "object", "properties": {"a": 5, "b": None, "c": [], "d": "x", "e": False}},
        {"type": "object", "properties": []},
        {"type": "object", "properties": {}, "required": ["a", {}, []]},
        {"type": "object", "properties": {"a": {}}, "required": "a"},
        {"type": "object", "properties": {"a": {}}, "required": ["a", "b"]},
        {"type": "object", "additionalProperties": "x"},
        {"type": ["object", "null"], "properties": {"a": {"type": "null"}}},
        {"type": 5, "properties": {"a": {"type": ["x", 5]}, "b": {"type": []}}},
        members(a={"enum": 5}, b={"enum": []}, c={"anyOf": 5}, d={"allOf": []}, e={"oneOf": {}}),
        members(a={"minimum": "x", "maximum": None}, b={"exclusiveMinimum": True, "minimum": 0}),
        members(a={"$ref": 5}, b={"$ref": "#/x"}, c={"$ref": "https://example.com/s"}),
        members(a={"type": "array", "items": [{"type": "string"}], "minItems": 2}),
        members(a={"description": 5, "default": {"a": [1]}, "title": {}}),
        members(a={"type": "string", "properties": {"x": {}}, "items": {"type": "string"}}),
        members(a={"about": 1, "schema": 2, "length": 3, "items": 4, "object": 5}),
        members(a={"const": {"a": [None, True, -1.5]}}, b={"enum": [{}, [], "", 0]}),
        members(a={"nullable": True}, b={"type": "string", "nullable": True, "enum": ["a"]}),
        members(a={"type": "array", "items": members(b={"type": "string"}), "nullable": True}),
        members(a={"type": "object", "additionalProperties": members(b={"description": "x"})}),
        members(a={"not": {"type": "string"}, "if": {"const": 1}, "then": {"minimum": 2}}),
        members(a={"anyOf": [{"required": ["x"]}, {"required": ["y"]}], "type": "object"}),
        {"$ref": "#/$defs/A", "$defs": {"A": members(a={"type": "string"})}},
        {"anyOf": [members(a={"type": "string"}), members(b={"type": "string"})]},
        members(**{"1": {}, "(x)": {}, "[key]": {}, "where": {}, "": {}, "a b": {}, "|": {}}),
        members(a={"type": "string", "default": "x" * 300, "examples": ["a", "b"]}),
        members(a={"$defs": {"X": {"type": "string"}}, "$ref": "#/properties/a/$defs/X"}),
        {**members(a={"$ref": "#"}, b={"$ref": "#/properties/a"}), "description": "all"},
    ],
)
def test_odd_schemas_are_lossless_too(schema: Any) -> None:
    assert_lossless(schema)
    example_arguments(Tool("tool", "", schema))


names = st.one_of(
    st.sampled_from(["a", "b", "a b", "a\u2028b", "[key]", "object", "$ref"]), st.text()
)
plain = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text(max_size=5))
values = st.recursive(
    plain, lambda v: st.lists(v, max_size=2) | st.dictionaries(st.text(max_size=3), v, max_size=2)
)
said = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from("\n\r\u2028 |:#"), max_size=30
)
kinds = st.sampled_from(["string", "number", "integer", "boolean", "object", "array", "null"])
references = st.sampled_from(["#", "#/$defs/A", "#/$defs/B", "#/$defs/C d", "#/none", "x"])


def _schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(inner, max_size=3)
    members = st.dictionaries(names, inner, max_size=3)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": kinds | st.lists(kinds, max_size=3, unique=True),
            "description": said,
            "default": values,
            "enum": st.lists(values, max_size=3),
            "const": values,
            "minimum": st.integers() | plain,
            "maximum": st.integers() | st.floats(allow_nan=False, allow_infinity=False),
            "minLength": plain,
            "maxItems": st.integers(0, 5),
            "minItems": st.integers(0, 5),
            "pattern": st.text(max_size=5),
            "nullable": st.booleans(),
            "properties": members | plain,
            "required": st.lists(names | plain, max_size=3),
            "additionalProperties": inner | st.booleans(),
            "items": inner | lists,
            "anyOf": lists | plain,
            "oneOf": lists,
            "allOf": lists,
            "not": inner,
            "$ref": references | plain,
            "title": st.text(max_size=3),
            "about": values,
            "x-any": values,
        },
    ).map(_without_foreign_keywords)


def _without_foreign_keywords(schema: dict[str, Any]) -> dict[str, Any]:
    """Leave out keywords of another type than the schema names; a table above has such ones."""
    if "type" not in schema:
        return schema
    foreign: list[str] = [] if "array" in schema["type"] else ["items"]
    if "object" not in schema["type"]:
        foreign += ["properties", "additionalProperties"]
    return {key: value for key, value in schema.items() if key not in foreign}


schemas = st.recursive(_schemas(st.booleans() | plain), _schemas, max_leaves=6)


@given(
    st.dictionaries(names, schemas, max_size=4),
    st.lists(names, max_size=3),
    st.dictionaries(st.sampled_from(["A", "B", "C d"]), schemas, max_size=3),
)
@settings(max_examples=300, deadline=None)
def test_any_schema_reads_back(
    properties: dict[str, Any], required: list[str], definitions: dict[str, Any]
) -> None:
    schema = {"type": "object", "properties": properties, "required": required}
    assert_lossless(schema | {"$defs": definitions} if definitions else schema)
