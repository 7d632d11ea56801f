"""Checks the tools of a request and the choice among them; the same rules hold in every dialect."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.errors import InvalidRequest
from gateway.generation.request import Tool, ToolChoice
from gateway.redaction import word

MAX_TOOLS = 256
_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


def check_tool_count(param: str, count: int) -> None:
    """Raise InvalidRequest for too many tools. param: the parameter that has them."""
    if count > MAX_TOOLS:
        raise InvalidRequest(
            f"'{param}' takes up to {MAX_TOOLS} tools, not {count}.",
            code="unsupported_value",
            param=param,
        )


def define_tool(
    name: str, description: str | None, parameters: Mapping[str, Any] | None, path: str
) -> Tool:
    """Return a tool. path: where it is in the request. Raises InvalidRequest for a wrong name."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"'{path}.name' takes 1 to 128 letters, digits and any of _-.: only.",
            code="unsupported_value",
            param=f"{path}.name",
        )
    return Tool(name, description or "", parameters or {})


def unique_tools(tools: Sequence[Tool], paths: Sequence[str]) -> tuple[Tool, ...]:
    """Return the tools, each once. Two different ones of one name are refused.

    paths: where the name of each tool is in the request.
    """
    found: dict[str, Tool] = {}
    for tool, path in zip(tools, paths, strict=True):
        if not _is_equal(found.setdefault(tool.name, tool), tool):
            raise InvalidRequest(
                f"Two different tools have the name '{word(tool.name)}'.",
                code="unsupported_value",
                param=path,
            )
    return tuple(found.values())


def choose_tool(name: str, tools: Sequence[Tool], param: str, among: str) -> ToolChoice:
    """Return the choice of one tool by its name.

    param: where the name is in the request. among: the parameter that has the tools.
    Raises InvalidRequest if no tool has the name.
    """
    if any(tool.name == name for tool in tools):
        return ToolChoice("named", name)
    raise not_offered(name, param, among)


def not_offered(name: str, param: str, among: str) -> InvalidRequest:
    """Return the error for the choice of a tool that the request does not have."""
    return InvalidRequest(
        f"'{param.partition('.')[0]}' names '{word(name)}', which is not among '{among}'.",
        code="unsupported_value",
        param=param,
    )


def _is_equal(one: Tool, other: Tool) -> bool:
    try:
        return one == other
    except RecursionError:  # of schemas that are nested very deeply
        return False
