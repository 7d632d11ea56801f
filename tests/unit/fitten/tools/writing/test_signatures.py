"""Tools as signatures: nothing of a schema is lost, nothing is forged, work stays bounded."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.scenarios.signatures import Signature, read_signatures
from gateway.fitten.tools.writing.json_notation import describe_tool
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
    root = wanted
    if isinstance(schema, dict) and "description" in schema:
        assert read_one(schema).description == schema["description"]
        wanted = {key: value for key, value in wanted.items() if key != "description"}
    assert normal_form(read, read) == normal_form(wanted, root)


def members(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def test_27_tools_take_at_most_half_of_the_characters_and_lose_nothing() -> None:
    text = rendered(*CLAUDE_CODE, budget=40_000)
    assert (text.stage, text.shortened) == (0, 0)
    assert len(text.text) * 2 <= len("\n".join(map(describe_tool, CLAUDE_CODE)))
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


def test_what_a_schema_says_of_itself_is_a_line_of_the_description() -> None:
    schema = members(a={"type": "null"}) | {"description": "All of it."}
    assert text_of(schema, "Does it.") == "tool: Does it.\n| All of it.\n a? null"
    assert text_of(schema, "All of it. Really.") == "tool: All of it. Really.\n a? null"
    schema = {"$ref": "#/$defs/A", "$defs": {"A": schema}}
    assert text_of(schema, "x") == (
        'tool: x\n (arguments) object: All of it.\n  a? null\n (example) {"a":null}'
    )


def test_a_reference_that_leads_nowhere_is_shown() -> None:
    schema = members(a={"$ref": "#/$defs/B"}) | {"$defs": {"A": {"type": "string"}}}
    assert text_of(schema) == 'tool\n a? any ($ref "#/$defs/B")'
    anchor = members(a={"$ref": "#B"}) | {"$defs": {"A": {"$anchor": "B"}}}
    assert text_of(anchor) == (
        'tool\n a? any ($ref "#B")\n (definitions) {"$defs":{"A":{"$anchor":"B"}}}'
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
        {
            **members(a={"$ref": "#/$defs/true"}, b={"$ref": "#/$defs/string"}),
            "$defs": {
                "true": members(a=members(b={})),
                "string": members(a={"$ref": "#/$defs/string"}),
            },
        },
        members(a={"$ref": "#/$defs/1 x"}, b={"$ref": "#/$defs/1 x"}) | {"$defs": {"1 x": EMPTY}},
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
    of_object = "properties" in schema or "additionalProperties" in schema
    kinds = schema.get("type", "object" if of_object else "array")
    foreign: list[str] = [] if "array" in kinds else ["items"]
    if "object" not in kinds:
        foreign += ["properties", "additionalProperties"]
    return {key: value for key, value in schema.items() if key not in foreign}


schemas = st.recursive(_schemas(st.booleans() | plain), _schemas, max_leaves=6)


@given(
    st.dictionaries(names, schemas, max_size=4),
    st.lists(names, max_size=3),
    st.dictionaries(st.sampled_from(["A", "B", "C d"]), schemas, max_size=3),
)
@settings(max_examples=60, deadline=None)
def test_any_schema_reads_back(
    properties: dict[str, Any], required: list[str], definitions: dict[str, Any]
) -> None:
    schema = {"type": "object", "properties": properties, "required": required}
    assert_lossless(schema | {"$defs": definitions} if definitions else schema)


@given(said, said, names)
def test_a_description_forges_neither_a_tool_nor_an_argument(
    description: str, inner: str, name: str
) -> None:
    attack = f"{description}\nEdit: {inner}\n forged: {inner}\n (example) {{}}"
    schema = members(**{name: {"type": "string", "description": attack}})
    tools = read_signatures(rendered(Tool("one", attack, schema), Tool("two")).text)
    assert [tool.name for tool in tools] == ["one", "two"]
    assert list(tools[0].parameters["properties"]) == [name]
    assert tools[0].example is None
    wanted = "\n".join(attack.strip().splitlines())
    assert tools[0].description == tools[0].parameters["properties"][name]["description"] == wanted


@given(st.text(min_size=1), values, st.text(), st.text())
def test_names_and_values_forge_nothing(
    name: str, value: Any, pattern: str, definition: str
) -> None:
    inner = {"type": "string", "pattern": pattern, "default": value, f"x{pattern}": value}
    schema = members(**{name: inner, "b": {"enum": [value, name], "description": name}})
    schema["properties"]["c"] = {"$ref": f"#/$defs/{definition}"}
    schema["$defs"] = {definition: members(**{name: inner})}
    text = rendered(Tool(name, "", schema), Tool("two")).text
    assert [line for line in text.splitlines() if line[:1] not in (" ", "|")] == [
        next(iter(text.splitlines())),
        "two",
    ]
    assert [tool.name for tool in read_signatures(text)] == [name, "two"]


def test_a_text_that_several_tools_have_is_written_once() -> None:
    long = "Always do this. " * 20
    text = rendered(Tool("a", long), Tool("b", long), Tool("c", "short"), Tool("d", "short")).text
    assert text == f"a: {long.strip()}\nb: (same text as a)\nc: short\nd: short"
    assert rendered(Tool("a", long), Tool("b", long), named="b").text.count("Always") == 40


def test_descriptions_are_cut_visibly_and_the_longest_first() -> None:
    tools = [Tool(f"t{size}", f"First one {size}. " + "word " * size) for size in (100, 400, 900)]
    whole = rendered(*tools)
    assert (whole.stage, whole.shortened) == (0, 0)
    size = len(whole.text)

    first = rendered(*tools, budget=size - 1)
    assert (first.stage, first.shortened) == (1, 1)
    assert first.text.endswith(" more characters]")
    assert whole.text.split("\n")[:2] == first.text.split("\n")[:2]
    cut = first.text.split("\n")[2]
    kept, _, more = cut.partition(" [cut: ")
    assert whole.text.split("\n")[2].startswith(kept)
    assert len(kept) <= 1_200 + len("t900: ")
    assert int(more.split()[0].replace(",", "")) == len(whole.text.split("\n")[2]) - len(kept)

    assert (rendered(*tools, budget=3_000).stage, rendered(*tools, budget=3_000).shortened) == (
        1,
        2,
    )
    assert (rendered(*tools, budget=1_500).stage, rendered(*tools, budget=1_500).shortened) == (
        2,
        2,
    )
    last = rendered(*tools, budget=10)
    assert (last.stage, last.shortened) == (3, 3)
    for tool, line in zip(tools, last.text.split("\n"), strict=True):
        assert line.startswith(f"{tool.name}: First one {tool.name[1:]}. [cut: ")


def test_the_named_tool_keeps_its_whole_text() -> None:
    argument = {"type": "string", "description": "x" * 2_000}
    tools = [Tool("a", "y" * 3_000, members(p=argument)), Tool("b", "z" * 2_500)]
    text = rendered(*tools, budget=10, named="a").text
    assert "x" * 2_000 in text
    assert "y" * 3_000 in text
    assert "z" * 201 not in text


def test_a_cut_description_within_a_type_is_cut_visibly_too() -> None:
    schema = members(a={"type": "array", "items": {"type": "string", "description": "x" * 5_000}})
    text = rendered(Tool("a", "", schema), budget=400)
    assert text.stage == 2
    assert "[cut: 4,700 more characters]" in text.text
    (tool,) = read_signatures(text.text)
    assert tool.parameters["properties"]["a"]["items"]["description"].startswith("xxx")


def test_the_same_tools_are_rendered_once() -> None:
    cache = RenderingCache()
    first = render_tools(CLAUDE_CODE, cache=cache)
    calls = calls_of(lambda: render_tools(list(CLAUDE_CODE), cache=cache))
    assert render_tools(CLAUDE_CODE, cache=cache) is first
    assert calls < 100
    assert render_tools(CLAUDE_CODE[::-1], cache=cache).text != first.text
    assert render_tools(CLAUDE_CODE, budget=900, cache=cache).stage == 3
    assert render_tools(CLAUDE_CODE, budget=900, named="Bash", cache=cache).stage == 3
    assert len(cache) == 4


def test_the_cache_is_bounded_by_count_and_by_characters() -> None:
    cache = RenderingCache(entries=3, characters=1_000)
    for number in range(10):
        render_tools([Tool(f"t{number}", "x" * 100)], cache=cache)
    assert len(cache) == 3
    render_tools([Tool("large", "x" * 800)], cache=cache)
    assert len(cache) == 2
    render_tools([Tool("larger", "x" * 2_000)], cache=cache)
    assert len(cache) == 2
    tools = [Tool("t9", "x" * 100)]
    assert render_tools(tools, cache=cache) is render_tools(tools, cache=cache)


def wide(size: int) -> Any:
    text = {"type": "string", "pattern": "(a+)+$", "description": "words " * 9}
    return members(**{f"a{n}": text for n in range(size)})


def deep(size: int) -> Any:
    schema: Any = {"type": "string"}
    for _ in range(size):
        schema = members(a=schema)
    return schema


def diamonds(size: int) -> Any:
    def pair(n: int) -> Any:
        return {"$ref": f"#/$defs/D{n + 1}"}

    levels = {f"D{n}": members(left=pair(n), right=pair(n)) for n in range(size)}
    return members(a={"$ref": "#/$defs/D0"}) | {"$defs": levels}


def loops(size: int) -> Any:
    levels = {f"D{n}": {"$ref": f"#/$defs/D{(n + 1) % size}"} for n in range(size)}
    return members(a={"$ref": "#/$defs/D0"}) | {"$defs": levels}


def choices(size: int) -> Any:
    return members(a={"anyOf": [members(**{f"a{n}": {}}) for n in range(size)]})


def overlapping(size: int) -> Any:
    members_of_it = {f"p{n}": {"$ref": "#" + "/properties/a" * (n % 40)} for n in range(size)}
    return members(**members_of_it, a=deep(size))


@pytest.mark.parametrize("build", [wide, deep, diamonds, loops, choices, overlapping])
def test_work_and_text_grow_with_the_schema_and_no_faster(build: Any) -> None:
    sizes = 60, 120, 240
    texts = [text_of(build(size)) for size in sizes]
    calls = [calls_of(partial(text_of, build(size))) for size in sizes]
    assert calls[2] - calls[1] <= 2.2 * (calls[1] - calls[0])
    assert calls[2] <= 1_500 * sizes[2]
    given_sizes = [len(json.dumps(build(size))) for size in sizes]
    for text, given_size in zip(texts, given_sizes, strict=True):
        assert len(text) <= 2 * given_size + 50_000  # so much may definitions add


@pytest.mark.parametrize("build", [wide, deep, diamonds, loops, choices, overlapping])
def test_a_schema_of_5000_nodes_is_text_of_bounded_size(build: Any) -> None:
    schema = build(5_000)
    text = text_of(schema)
    assert text.startswith("tool\n")
    assert len(text) <= 2_000_000
    example_arguments(Tool("tool", "", schema))


def test_what_the_budget_of_nodes_does_not_hold_is_written_as_json() -> None:
    read = read_one(diamonds(3_000)).parameters
    written = [name for name in read["$defs"] if name.startswith("D")]
    assert len(written) == 3_000


LARGE: dict[str, Any] = {
    "values": members(a={"enum": list(range(20_000))}),
    "floats": {"enum": [1e300] * 20_000, "description": "of it", "title": "t"},
    "choices": members(a={"anyOf": [{"type": "integer", "minimum": n} for n in range(4_000)]}),
    "members": members(**{f"a{n}": True for n in range(20_000)}),
    "required": members(a={}) | {"required": [f"a{n}" for n in range(20_000)]},
    "lists": members(a={"enum": [[n] for n in range(9_000)]}),
}


@pytest.mark.parametrize("name", LARGE)
def test_a_very_large_schema_is_written_as_json_in_a_few_calls(name: str) -> None:
    schema = LARGE[name]
    assert calls_of(partial(text_of, schema)) < 100_000
    read = read_one(schema)
    said = {"description": read.description} if read.description else {}
    assert read.parameters | said == schema


def test_schemas_of_many_tools_take_bounded_work() -> None:
    one = members(a={"anyOf": [{"type": "integer", "minimum": n} for n in range(100)]})
    tools = [Tool(f"t{number}", "", one) for number in range(250)]
    texts: list[str] = []
    assert calls_of(lambda: texts.append(rendered(*tools).text)) < 300_000
    written = [tool.parameters for tool in read_signatures(texts[0])]
    assert [normal_form(schema, schema) for schema in written] == [normal_form(one, one)] * 250


@pytest.mark.parametrize(
    ("schema", "arguments"),
    [
        ({}, {}),
        (members(a={"type": "string"}, b={"type": "integer"}), {"a": "..."}),
        (members(a={}, b={"type": "integer", "minimum": 5}) | {"required": ["b"]}, {"b": 5}),
        (members(a={"enum": ["x", "y"]}), {"a": "x"}),
        (members(a={"type": "boolean", "default": False}), {"a": False}),
        (members(a={"type": ["null", "number"], "exclusiveMaximum": 0}), {"a": -1}),
        (members(a={"type": "array", "minItems": 2, "items": {"const": 1}}), {"a": [1, 1]}),
        (members(a={"type": "string", "format": "uri"}), {"a": "https://example.com/"}),
        (members(a={"type": "string", "minLength": 5}), {"a": "....."}),
        (members(a={"anyOf": [{"type": "null"}, {"type": "string"}]}), {"a": None}),
        (members(a=members(b={"type": "integer"})), {"a": {"b": 1}}),
        (members(a={"allOf": [members(b={"const": 2}) | {"required": ["b"]}]}), {"a": {"b": 2}}),
        ({**members(a={"$ref": "#/$defs/A"}), "$defs": {"A": {"type": "integer"}}}, {"a": 1}),
    ],
)
def test_an_example_fits_the_schema(schema: Any, arguments: Any) -> None:
    assert example_arguments(Tool("tool", "", schema)) == arguments


def test_an_example_of_a_loop_ends() -> None:
    tree = {"$ref": "#/$defs/Tree"}
    needed = members(left=tree, right=tree) | {"required": ["left", "right"]}
    schema = members(tree=tree) | {"$defs": {"Tree": needed}}
    assert len(json.dumps(example_arguments(Tool("tool", "", schema)))) < 3_000


def test_an_example_of_a_large_schema_is_small() -> None:
    many = {f"a{n}": {"type": "array", "minItems": 5, "items": {}} for n in range(3_000)}
    schema = members(**many) | {"required": list(many)}
    assert len(json.dumps(example_arguments(Tool("tool", "", members(a=schema))))) < 3_000
