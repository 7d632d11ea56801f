"""Parses the tools of a chat request and the choice among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.apis.openai.parameters import missing_parameter, unsupported
from gateway.apis.tool_definitions import (
    check_tool_count,
    choose_tool,
    define_tool,
    not_offered,
    unique_tools,
)
from gateway.errors import InvalidRequest
from gateway.generation.request import Tool, ToolChoice
from gateway.redaction import word

_REQUIRED = ("required", "any")  # "any" is the word of Anthropic's and Mistral's APIs


class FunctionDefinition(msgspec.Struct, gc=False):
    """Declares a function that the model may call."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class ToolDefinition(msgspec.Struct, gc=False):
    """Declares an item of `tools`.

    Some clients send the function's members in the tool itself, as the Responses API and
    Anthropic's API have them; `input_schema` is Anthropic's name of `parameters`.
    """

    type: str | None = None
    function: FunctionDefinition | None = None
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    input_schema: dict[str, Any] | None = None


class NamedFunction(msgspec.Struct, gc=False):
    """Declares the function of a `tool_choice`."""

    name: str


class AllowedTool(msgspec.Struct, gc=False):
    """Declares an item of the tools that a `tool_choice` allows."""

    function: NamedFunction | None = None
    name: str | None = None


class AllowedTools(msgspec.Struct, gc=False):
    """Declares the `allowed_tools` of a `tool_choice`."""

    mode: str | None = None
    tools: list[AllowedTool] | None = None


class ToolChoiceObject(msgspec.Struct, gc=False):
    """Declares a `tool_choice` that is an object: a mode, a name, or allowed tools.

    As with tools, members may stand in the object itself.
    """

    type: str | None = None
    function: NamedFunction | None = None
    name: str | None = None
    allowed_tools: AllowedTools | None = None
    mode: str | None = None
    tools: list[AllowedTool] | None = None


def parse_tools(
    given: Sequence[ToolDefinition] | None, choice: str | ToolChoiceObject | None
) -> tuple[tuple[Tool, ...], ToolChoice]:
    """Parse `tools` and `tool_choice`, which may leave some of the tools out.

    Raises InvalidRequest that names the wrong tool or choice.
    """
    tools: tuple[Tool, ...] = ()
    if given:
        check_tool_count("tools", len(given))
        found = [_tool(tool, f"tools[{i}]") for i, tool in enumerate(given)]
        tools = unique_tools(found, [f"tools[{i}].function.name" for i in range(len(found))])
    if choice is None:
        return tools, ToolChoice()
    return choose_tools(choice, tools)


def parse_functions(
    given: Sequence[FunctionDefinition] | None, choice: str | NamedFunction | None
) -> tuple[tuple[Tool, ...], ToolChoice]:
    """Parse `functions` and `function_call`, OpenAI's older names of tools and their choice.

    Raises InvalidRequest that names the wrong function or choice.
    """
    functions = given or ()
    check_tool_count("functions", len(functions))
    found = [_function(one, f"functions[{i}]") for i, one in enumerate(functions)]
    tools = unique_tools(found, [f"functions[{i}].name" for i in range(len(found))])
    if choice is None or choice == "auto":
        return tools, ToolChoice()
    if choice == "none":
        return tools, ToolChoice("none")
    if isinstance(choice, NamedFunction):
        return tools, choose_tool(choice.name, tools, "function_call.name", "functions")
    raise unsupported("function_call", "'auto', 'none' or an object with the name of a function")


def choose_tools(
    given: str | ToolChoiceObject, tools: tuple[Tool, ...]
) -> tuple[tuple[Tool, ...], ToolChoice]:
    """Return the tools that a choice leaves, and the choice. Raises InvalidRequest."""
    if isinstance(given, str):
        mode = given
    else:
        if given.type == "allowed_tools":
            return _allowed(given, tools)
        named = given.function or given
        if given.type in ("function", "custom", "tool", None) and named.name:
            where = "tool_choice.function.name" if given.function else "tool_choice.name"
            return tools, choose_tool(named.name, tools, where, "tools")
        mode = given.type or ""
    if mode == "auto":
        return tools, ToolChoice()
    if mode == "none":
        return tools, ToolChoice("none")
    if mode in _REQUIRED and tools:
        return tools, ToolChoice("required")
    raise InvalidRequest(
        "'tool_choice' must be 'auto', 'none', 'required', the name of a function or "
        "'allowed_tools'. The last three need 'tools'.",
        code="unsupported_value",
        param="tool_choice",
    )


def _allowed(
    given: ToolChoiceObject, tools: tuple[Tool, ...]
) -> tuple[tuple[Tool, ...], ToolChoice]:
    """Return the tools that are allowed. The others stay in the history only."""
    nested = given.allowed_tools is not None
    allowed = given.allowed_tools or AllowedTools(given.mode, given.tools)
    here = "tool_choice.allowed_tools" if nested else "tool_choice"
    mode = allowed.mode or "auto"
    if mode != "auto" and mode not in _REQUIRED:
        raise unsupported(f"{here}.mode", "'auto' or 'required'")
    check_tool_count(f"{here}.tools", len(allowed.tools or ()))
    offered, names = {tool.name for tool in tools}, set()
    for index, tool in enumerate(allowed.tools or ()):
        name = tool.function.name if tool.function else tool.name
        where = f"{here}.tools[{index}]"
        if name is None:
            raise missing_parameter(f"{where}.function.name")
        if name not in offered:
            raise not_offered(name, where, "tools")
        names.add(name)
    left = tuple(tool for tool in tools if tool.name in names)
    if not left:
        return tools, ToolChoice("none")
    return left, ToolChoice("auto" if mode == "auto" else "required")


def _tool(spec: ToolDefinition, path: str) -> Tool:
    if spec.input_schema is None and spec.type not in ("function", None):
        raise InvalidRequest(
            f"Tools of type '{word(spec.type or '')}' are not supported; offer functions.",
            code="unsupported_value",
            param=f"{path}.type",
        )
    if spec.function is not None:
        return _function(spec.function, f"{path}.function")
    if spec.name is None:
        raise missing_parameter(f"{path}.function")
    parameters = spec.input_schema if spec.parameters is None else spec.parameters
    return _function(FunctionDefinition(spec.name, spec.description, parameters), path)


def _function(function: FunctionDefinition, path: str) -> Tool:
    return define_tool(function.name, function.description, function.parameters, path)
