"""Tools and the choice among them, in every form that clients send."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.apis.json_body import convert
from gateway.apis.openai.chat_request import ChatCompletions
from gateway.apis.openai.tools import (
    ToolChoiceObject,
    ToolDefinition,
    parse_tools,
)
from gateway.errors import InvalidRequest
from gateway.generation.request import Tool, ToolChoice

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
MEMBERS = {"name": "f", "description": "Does f."}
F, G, H = Tool("f"), Tool("g"), Tool("h")


def spec(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **more}}


def parse(tools: list[Any], choice: Any = None) -> tuple[tuple[Tool, ...], ToolChoice]:
    wanted = convert(choice, ToolChoiceObject) if isinstance(choice, dict) else choice
    return parse_tools([convert(tool, ToolDefinition) for tool in tools], wanted)


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "function", "function": {**MEMBERS, "parameters": SCHEMA}},
        {"type": "function", "function": {**MEMBERS, "parameters": SCHEMA, "strict": "x"}},
        {"function": {**MEMBERS, "parameters": SCHEMA}},
        {"type": "function", **MEMBERS, "parameters": SCHEMA, "strict": None},
        {**MEMBERS, "input_schema": SCHEMA},
        {"type": "custom", **MEMBERS, "input_schema": SCHEMA, "cache_control": {}},
    ],
)
def test_a_tool_is_read_in_the_form_of_every_api(tool: dict[str, Any]) -> None:
    assert parse([tool])[0] == (Tool("f", "Does f.", SCHEMA),)


def test_identical_tools_are_one() -> None:
    tool, other = spec("f", parameters=SCHEMA), spec("g")
    tools = (Tool("f", "", SCHEMA), G)
    assert parse([tool, other, tool, other, tool])[0] == tools


def test_different_tools_of_one_name_are_refused() -> None:
    for other in (spec("f", description="x"), spec("f", parameters=SCHEMA)):
        with pytest.raises(InvalidRequest) as caught:
            parse([spec("f"), spec("g"), other])
        assert caught.value.param == "tools[2].function.name"


@pytest.mark.parametrize(
    ("choice", "left", "wanted"),
    [
        (None, [F, G, H], ToolChoice()),
        ("auto", [F, G, H], ToolChoice()),
        ("none", [F, G, H], ToolChoice("none")),
        ("required", [F, G, H], ToolChoice("required")),
        ("any", [F, G, H], ToolChoice("required")),
        ({"type": "auto"}, [F, G, H], ToolChoice()),
        ({"type": "none"}, [F, G, H], ToolChoice("none")),
        ({"type": "any"}, [F, G, H], ToolChoice("required")),
        ({"type": "required"}, [F, G, H], ToolChoice("required")),
        ({"type": "function", "function": {"name": "g"}}, [F, G, H], ToolChoice("named", "g")),
        ({"function": {"name": "g"}}, [F, G, H], ToolChoice("named", "g")),
        ({"type": "function", "name": "g"}, [F, G, H], ToolChoice("named", "g")),
        ({"type": "tool", "name": "g"}, [F, G, H], ToolChoice("named", "g")),
    ],
)
def test_a_choice_is_read_in_the_form_of_every_api(
    choice: Any, left: list[Tool], wanted: ToolChoice
) -> None:
    assert parse([spec("f"), spec("g"), spec("h")], choice) == (tuple(left), wanted)


@pytest.mark.parametrize("nested", [True, False], ids=["chat completions", "responses"])
@pytest.mark.parametrize(
    ("mode", "names", "left", "wanted"),
    [
        ("auto", ["f", "h"], (F, H), ToolChoice()),
        ("required", ["h", "f"], (F, H), ToolChoice("required")),
        (None, ["g"], (G,), ToolChoice()),
        ("auto", ["f", "f"], (F,), ToolChoice()),
        ("auto", [], (F, G, H), ToolChoice("none")),
    ],
)
def test_allowed_tools_leave_the_others_out(
    nested: bool, mode: str | None, names: list[str], left: tuple[Tool, ...], wanted: ToolChoice
) -> None:
    if nested:
        allowed = {"mode": mode, "tools": [spec(name) for name in names]}
        choice: Any = {"type": "allowed_tools", "allowed_tools": allowed}
    else:
        tools = [{"type": "function", "name": name} for name in names]
        choice = {"type": "allowed_tools", "mode": mode, "tools": tools}
    assert parse([spec("f"), spec("g"), spec("h")], choice) == (left, wanted)


@pytest.mark.parametrize(
    ("choice", "param"),
    [
        ("sometimes", "tool_choice"),
        ({"type": "function"}, "tool_choice"),
        ({"type": "file_search"}, "tool_choice"),
        ({}, "tool_choice"),
        ({"type": "function", "function": {"name": "x"}}, "tool_choice.function.name"),
        ({"type": "tool", "name": "x"}, "tool_choice.name"),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "never", "tools": []}},
         "tool_choice.allowed_tools.mode"),
        ({"type": "allowed_tools", "allowed_tools": {"tools": [spec("x")]}},
         "tool_choice.allowed_tools.tools[0]"),
        ({"type": "allowed_tools", "tools": [{"type": "function"}]},
         "tool_choice.tools[0].function.name"),
    ],
)  # fmt: skip
def test_a_choice_that_cannot_be_made_is_refused_with_its_path(choice: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse([spec("f")], choice)
    assert (caught.value.param, caught.value.code.__class__) == (param, str)


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        (b"", ToolChoice()),
        (b',"function_call":null', ToolChoice()),
        (b',"function_call":"auto"', ToolChoice()),
        (b',"function_call":"none"', ToolChoice("none")),
        (b',"function_call":{"name":"f"}', ToolChoice("named", "f")),
    ],
)
def test_functions_are_tools_that_are_called_one_at_a_time(
    choice: bytes, wanted: ToolChoice
) -> None:
    body = b'{"messages":[{"role":"user","content":"a"}],"functions":[{"name":"f"}]' + choice
    request = ChatCompletions().parse(body + b"}")
    assert (request.tools, request.tool_choice) == ((F,), wanted)
    assert request.function_call
    assert not request.parallel_tool_calls
    assert request.ignored == ()


@pytest.mark.parametrize(
    ("more", "param"),
    [
        (b'"functions":[{"name":"f"}],"function_call":"always"', "function_call"),
        (b'"functions":[{"name":"f"}],"function_call":{"name":"g"}', "function_call.name"),
        (b'"functions":[{"name":"a b"}]', "functions[0].name"),
        (b'"functions":[{"name":"f"},{"name":"f","description":"x"}]', "functions[1].name"),
        (b'"functions":[{}]', "functions[0].name"),
        (b'"functions":5', "functions"),
    ],
)
def test_functions_that_cannot_be_offered_are_refused_by_name(more: bytes, param: str) -> None:
    body = b'{"messages":[{"role":"user","content":"a"}],' + more + b"}"
    with pytest.raises(InvalidRequest) as caught:
        ChatCompletions().parse(body)
    assert caught.value.param == param
