"""Parses the tools and the calls of a chat, and encodes the calls of an answer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.apis.json_body import json_text
from gateway.apis.parameters import missing_parameter
from gateway.apis.tool_definitions import check_tool_count, define_tool, unique_tools
from gateway.generation.request import Tool


class OllamaFunction(msgspec.Struct, gc=False):
    """Declares a function that the model may call."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class OllamaTool(msgspec.Struct, gc=False):
    """Declares an item of `tools`; other members are ignored."""

    function: OllamaFunction | None = None


class CalledFunction(msgspec.Struct, gc=False):
    """Declares the function of a call in the history; some clients send arguments as text."""

    name: str
    arguments: dict[str, Any] | str | None = None


class HistoryCall(msgspec.Struct, gc=False):
    """Declares an item of a message's `tool_calls`; many clients do not keep the id."""

    function: CalledFunction | None = None
    id: str | None = None


def parse_tools(given: Sequence[OllamaTool] | None) -> tuple[Tool, ...]:
    """Parse `tools`. Raises InvalidRequest that names the wrong tool."""
    check_tool_count("tools", len(given or ()))
    tools, paths = [], []
    for index, tool in enumerate(given or ()):
        path = f"tools[{index}].function"
        if tool.function is None:
            raise missing_parameter(path)
        function = tool.function
        tools.append(define_tool(function.name, function.description, function.parameters, path))
        paths.append(f"{path}.name")
    return unique_tools(tools, paths)


def arguments_text(given: dict[str, Any] | str | None) -> str:
    """Return the arguments of a call in the history as JSON text."""
    if isinstance(given, str):
        return given
    return json_text(given or {})


def call_object(name: str, arguments: str, index: int) -> dict[str, Any] | None:
    """Return an item of an answer's `tool_calls`; None for arguments that are no JSON object.

    The limit of tokens may have cut them off. Clients run every call that they get.
    """
    try:
        parsed = msgspec.json.decode(arguments or "{}")
    except (ValueError, RecursionError):
        return None
    if not isinstance(parsed, dict):
        return None
    return {
        "id": f"call_{os.urandom(4).hex()}",
        "function": {"index": index, "name": name, "arguments": parsed},
    }
