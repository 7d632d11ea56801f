"""Parses the tools of a Messages request and the choice among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.apis.parameters import missing_parameter, unsupported
from gateway.apis.tool_definitions import (
    check_tool_count,
    choose_tool,
    define_tool,
    unique_tools,
)
from gateway.generation.request import Tool, ToolChoice
from gateway.redaction import word


class ToolParameter(msgspec.Struct, gc=False):
    """Declares an item of `tools`; other members are ignored.

    Tools that Anthropic runs or knows, such as web search, have a type and no schema.
    """

    name: str | None = None
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None


class ToolChoiceParameter(msgspec.Struct, gc=False):
    """Declares `tool_choice`."""

    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


def parse_tools(
    given: Sequence[ToolParameter] | None, choice: ToolChoiceParameter | None
) -> tuple[tuple[Tool, ...], ToolChoice, tuple[str, ...]]:
    """Parse `tools` and `tool_choice`.

    Return the tools that the client runs, the choice, and the names of the tools that are left
    out. Raises InvalidRequest that names the wrong tool or choice.
    """
    found: list[Tool] = []
    places: list[int] = []
    absent: dict[str, None] = {}
    check_tool_count("tools", len(given or ()))
    for index, tool in enumerate(given or ()):
        path = f"tools[{index}]"
        if tool.input_schema is None and tool.type not in (None, "custom"):
            absent[word(tool.name or tool.type or "")] = None
            continue
        if tool.name is None:
            raise missing_parameter(f"{path}.name")
        if tool.input_schema is None:
            raise missing_parameter(f"{path}.input_schema")
        found.append(define_tool(tool.name, tool.description, tool.input_schema, path))
        places.append(index)
    tools = unique_tools(found, [f"tools[{index}].name" for index in places])
    return tools, _choose(choice, tools, absent), tuple(absent)


def absence_note(names: Sequence[str]) -> str:
    """Return the sentence that tells the model which tools it does not have."""
    return f"Tools that are not available here, so do not use them: {', '.join(names)}."


def _choose(
    given: ToolChoiceParameter | None, tools: tuple[Tool, ...], absent: dict[str, None]
) -> ToolChoice:
    """Return the choice. One that only a tool which is left out could meet becomes `auto`."""
    if given is None or given.type == "auto":
        return ToolChoice()
    if given.type == "none":
        return ToolChoice("none")
    if given.type == "any":
        if tools:
            return ToolChoice("required")
        if absent:
            return ToolChoice()
        raise unsupported("tool_choice", "'auto' or 'none' without 'tools'")
    if given.type == "tool":
        if given.name is None:
            raise missing_parameter("tool_choice.name")
        if word(given.name) in absent:
            return ToolChoice()
        return choose_tool(given.name, tools, "tool_choice.name", "tools")
    raise unsupported("tool_choice.type", "'auto', 'any', 'tool' or 'none'")
