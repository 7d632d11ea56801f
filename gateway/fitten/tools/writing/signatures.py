"""Describes tools in the prompt, one line each. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.fitten.tools.writing.json_notation import describe_tool
from gateway.fitten.tools.writing.written_tools import RenderedTools
from gateway.generation.request import Tool


def render_tools(tools: Sequence[Tool], *, named: str | None = None) -> RenderedTools:
    """Return the tools as text; `named` is the one that must be called."""
    return RenderedTools("\n".join(map(describe_tool, tools)))


def example_arguments(tool: Tool) -> dict[str, Any]:
    """Return arguments of a tool that an example can show."""
    properties = tool.parameters.get("properties")
    members = properties.items() if isinstance(properties, dict) else ()
    return {
        name: "text"
        for name, schema in members
        if isinstance(schema, dict) and schema.get("type") == "string"
    }
