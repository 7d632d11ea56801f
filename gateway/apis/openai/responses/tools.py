"""Parses the tools of a Responses request, and names them for the model.

A model sees one flat list of tools. Functions of a namespace are in it under their own name, or
as `NAMESPACE.NAME` where another tool has that name too. Custom tools have one argument. Tools
that OpenAI runs itself are left out, and the model is told so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from gateway.apis.json_body import convert
from gateway.apis.openai.parameters import missing_parameter
from gateway.apis.openai.tools import ToolChoiceObject, choose_tools
from gateway.apis.tool_definitions import check_tool_count, define_tool, unique_tools
from gateway.errors import InvalidRequest
from gateway.generation.request import Tool, ToolChoice
from gateway.redaction import word

TEXT_ARGUMENT = "input"
"""Is the name of the only argument of a tool that takes a text."""

_TEXT_PARAMETERS: Mapping[str, Any] = {
    "type": "object",
    "properties": {TEXT_ARGUMENT: {"type": "string", "description": "The text, as it is"}},
    "required": [TEXT_ARGUMENT],
    "additionalProperties": False,
}
_SEARCH = "tool_search"
_MAX_TYPES = 16  # of tools that are left out, in the sentence for the model


class _Grammar(msgspec.Struct, gc=False):
    """Declares the `format` of a custom tool."""

    type: str | None = None
    syntax: str | None = None
    definition: str | None = None


class ResponsesTool(msgspec.Struct, gc=False):
    """Declares an item of `tools`; a namespace has tools of its own."""

    type: str
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    format: _Grammar | None = None
    execution: str | None = None
    tools: list[ResponsesTool] | None = None


class _Found(msgspec.Struct):
    """Declares the tools that a search has found, for `convert`."""

    tools: list[ResponsesTool]


@dataclass(slots=True)
class _NamedTool:
    """Holds a tool under the client's names. path: where it is in the request."""

    namespace: str
    tool: Tool
    path: str


class DeclaredTools:
    """Holds the tools of a request.

    tools: as the model sees them. notes: sentences about them for the system text.
    search_name: the name under which the search for tools is offered.
    """

    def __init__(self, entries: Sequence[_NamedTool], notes: Sequence[str]) -> None:
        bare = Counter(name for name, _ in {(e.tool.name, e.namespace) for e in entries})
        self._shown: dict[tuple[str, str], str] = {}
        shown, paths = [], []
        for entry in entries:
            name, namespace = entry.tool.name, entry.namespace
            if namespace and (bare[name] > 1 or name.startswith(f"{namespace}.")):
                name = f"{namespace}.{name}"
            self._shown[namespace, entry.tool.name] = name
            shown.append(replace(entry.tool, name=name, namespace=namespace))
            paths.append(f"{entry.path}.name")
        self.tools = unique_tools(shown, paths)
        self.notes = tuple(notes)
        self.search_name = _SEARCH

    def shown_name(self, name: str, namespace: str) -> str:
        """Return the name under which the model sees a tool, also one that is not offered."""
        found = self._shown.get((namespace, name))
        return found or (f"{namespace}.{name}" if namespace else name)

    def names_of(self, tools: Iterable[Mapping[str, Any]]) -> list[str]:
        """Return the names under which the model sees tools that a search has found."""
        names = []
        for tool in tools:
            if tool.get("type") == "namespace":
                inner, namespace = tool.get("tools") or (), str(tool.get("name"))
                names += [self.shown_name(str(one.get("name")), namespace) for one in inner]
            else:
                names.append(self.shown_name(str(tool.get("name")), ""))
        return names


def parse_tools(
    given: Sequence[ResponsesTool] | None, found: Iterable[tuple[str, list[dict[str, Any]]]] = ()
) -> DeclaredTools:
    """Parse `tools`, and the tools that searches in the history have found.

    found: those tools, and where they are in the request.
    Raises InvalidRequest that names the wrong tool.
    """
    reader = _ToolsReader()
    reader.read(given or (), "tools")
    for path, tools in found:
        try:
            reader.read(convert({"tools": tools}, _Found).tools, path)
        except InvalidRequest as error:
            param = (error.param or "tools").replace("tools", path, 1)
            raise InvalidRequest(error.message, code=error.code, param=param) from None
    return DeclaredTools(reader.entries, reader.notes())


def parse_choice(
    given: str | ToolChoiceObject | None, offered: DeclaredTools
) -> tuple[tuple[Tool, ...], ToolChoice]:
    """Return the tools that `tool_choice` leaves, and the choice. Raises InvalidRequest."""
    if given is None:
        return offered.tools, ToolChoice()
    if isinstance(given, ToolChoiceObject) and given.type == "allowed_tools" and given.tools:
        # Tools that OpenAI runs have no name. They are not offered.
        given.tools = [tool for tool in given.tools if tool.name is not None]
    return choose_tools(given, offered.tools)


class _ToolsReader:
    """Reads tools; entries that are given twice stay so, since equal ones are harmless."""

    def __init__(self) -> None:
        self.entries: list[_NamedTool] = []
        self._absent: dict[str, None] = {}
        self._spaces: dict[str, str] = {}

    def read(self, given: Sequence[ResponsesTool], path: str) -> None:
        for index, tool in enumerate(given):
            here = f"{path}[{index}]"
            if tool.type == "namespace":
                self._read_namespace(tool, here)
            elif tool.type in ("function", "custom"):
                self._add("", _tool(tool, here), here)
            elif tool.type == _SEARCH and tool.execution == "client":
                self._add("", _search(tool, here), here)
            else:
                self._absent.setdefault(word(tool.type))
        check_tool_count("tools", len(self.entries))

    def notes(self) -> list[str]:
        """Return sentences about the namespaces, and one about the tools that are left out."""
        notes = [f"{name}: {text}" for name, text in self._spaces.items() if text]
        if self._absent:
            types = ", ".join([*self._absent][:_MAX_TYPES])
            notes.append(f"These tools are not available in this conversation: {types}.")
        return notes

    def _read_namespace(self, space: ResponsesTool, path: str) -> None:
        if not space.name:
            raise missing_parameter(f"{path}.name")
        self._spaces.setdefault(word(space.name), (space.description or "").strip())
        for index, tool in enumerate(space.tools or ()):
            here = f"{path}.tools[{index}]"
            if tool.type not in ("function", "custom"):
                raise InvalidRequest(
                    f"Tools of type '{word(tool.type)}' are not supported in a namespace; "
                    "offer functions.",
                    code="unsupported_value",
                    param=f"{here}.type",
                )
            self._add(space.name, _tool(tool, here), here)

    def _add(self, namespace: str, tool: Tool, path: str) -> None:
        self.entries.append(_NamedTool(namespace, tool, path))


def _tool(tool: ResponsesTool, path: str) -> Tool:
    if tool.name is None:
        raise missing_parameter(f"{path}.name")
    if tool.type == "function":
        return define_tool(tool.name, tool.description, tool.parameters, path)
    found = define_tool(tool.name, _custom_description(tool), _TEXT_PARAMETERS, path)
    return replace(found, kind="text")


def _custom_description(tool: ResponsesTool) -> str:
    description = (tool.description or "").strip()
    grammar = tool.format
    if grammar is None or grammar.type != "grammar" or not grammar.definition:
        return description
    syntax = f" ({grammar.syntax})" if grammar.syntax else ""
    rule = f"The text must follow this grammar{syntax}:\n{grammar.definition.strip()}"
    return f"{description}\n{rule}".strip()


def _search(tool: ResponsesTool, path: str) -> Tool:
    found = define_tool(_SEARCH, tool.description, tool.parameters, path)
    return replace(found, kind="search")
