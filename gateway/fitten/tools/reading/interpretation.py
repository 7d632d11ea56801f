"""Interprets JSON and elements that models write as tool calls (protocol 4.6). No I/O.

Defines the words of each notation and what JSON and elements with these words mean. The module
`grammar` finds where they begin and end; `markup` reads tags.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.fitten.json_schema import StepCounter
from gateway.fitten.tools.reading import markup
from gateway.fitten.tools.reading.argument_coercion import ArgumentCoercion
from gateway.fitten.tools.reading.json_mending import encode
from gateway.fitten.tools.reading.json_mending import load_lenient_json as load_lenient_json
from gateway.fitten.tools.reading.text_reader import MAX_DEPTH, NotFoundHere
from gateway.fitten.tools.writing.written_tools import NO_PARAMETERS
from gateway.generation.request import Tool

WRAPPERS = ("function_calls", "tool_calls")
CALLS = ("invoke", "function_call", "tool_call", "tool")
RESULTS = ("function_results", "function_result", "tool_results", "tool_result", "tool_response")

NAMES = ("name", "tool_name", "tool", "function", "function_name")
ARGUMENTS = ("arguments", "args", "parameters", "params", "input")
LABELS = ("id", "type", "index", "call_id", "tool_call_id")
NESTED = ("tool_calls", "function_call", "tool_call")
MEMBERS = frozenset((*NAMES, *ARGUMENTS, *LABELS, *NESTED))


# What models write between the namespace of a tool and its name.
_SEPARATORS = (".", "__", "::", "/", ":")
_NAMESPACES = ("functions.", "functions::", "function.", "default_api.", "tools.", "tool.")
_NUMBER_OF_CALL = re.compile(r":\d{1,6}\Z", re.ASCII)
_USE_TOOL = ("use_tool", "call_tool")


@dataclass(frozen=True, slots=True)
class ParsedCall:
    """Describes a call of an offered tool; `arguments` is the text of a JSON object."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class _ArgumentNames:
    """Holds the names of a tool's arguments.

    properties: None when the tool's schema has none. folded: the names by their lower case.
    """

    properties: frozenset[str] | None
    required: frozenset[str]
    folded: Mapping[str, str]


class ToolInterpreter:
    """Interprets calls of the offered tools.

    The methods that return calls raise NotFoundHere for anything but a call of an offered tool.
    tags: the names of tools, in lower case, that count as tags of their own.
    steps: counts the steps that the schemas of the tools cost.
    """

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self.steps = StepCounter()
        self._coercions = {
            tool.name: ArgumentCoercion(tool.parameters, self.steps) for tool in tools
        }
        self._names: dict[str, _ArgumentNames] = {}
        self._folded: dict[str, str | None] = {}
        for name in self._tools:
            folded = name.lower()
            self._folded[folded] = None if folded in self._folded else name
        for tool in tools:
            self._add_qualified(tool)
        # A tool with the name of a notation has no tag of its own, since that means the notation.
        reserved = {*WRAPPERS, *CALLS, *RESULTS} - {"tool"}
        self.tags = frozenset({name.lower() for name in self._tools} - reserved)

    def tool_name(self, name: object) -> str | None:
        """Return the offered tool that a name stands for, or None.

        Upper and lower case may differ if only one tool has such a name. If no tool has the
        name, a namespace before it and the number of the call behind it are left out, as in
        `functions.T:0`. The rest must be exactly the name of a tool.
        """
        if not isinstance(name, str):
            return None
        name = name.strip()
        if name in self._tools:
            return name
        return self._folded.get(name.lower()) or self._without_additions(name)

    def _add_qualified(self, tool: Tool) -> None:
        """Let a tool be called with its namespace before its name, in any usual form."""
        if tool.namespace:
            name = tool.name.removeprefix(f"{tool.namespace}.")
            for separator in _SEPARATORS:
                self._folded.setdefault(f"{tool.namespace}{separator}{name}".lower(), tool.name)

    def _without_additions(self, name: str) -> str | None:
        for namespace in ("", *_NAMESPACES):
            if name.startswith(namespace):
                rest = name[len(namespace) :]
                for found in (rest, _NUMBER_OF_CALL.sub("", rest)):
                    if found in self._tools:
                        return found
        return None

    def call(self, name: object, arguments: object) -> ParsedCall:
        """Return the call of a tool; `arguments` is an object or its JSON text."""
        tool = self.tool_name(name)
        if tool is None:
            raise NotFoundHere
        if isinstance(arguments, str):
            arguments = self._decoded(tool, arguments)
        if arguments is None:
            arguments = {}
        if not isinstance(arguments, dict) or not _is_shallow(arguments):
            raise NotFoundHere
        if arguments and arguments in (self._tools[tool].parameters, NO_PARAMETERS):
            raise NotFoundHere  # the model repeats the list of tools in the prompt
        try:
            coerced = self._coercions[tool].coerce_arguments(arguments)
        except RecursionError:
            raise NotFoundHere from None
        return ParsedCall(tool, _json_text(coerced))

    def _decoded(self, tool: str, text: str) -> object:
        """Return arguments that are given as a text; a tool that takes one text may get it bare."""
        name = self.text_argument(tool)
        try:
            value = _object(text)
        except NotFoundHere:
            if name is None:
                raise
            value = None
        return {name: text} if name is not None and not isinstance(value, dict) else value

    def object_of(self, text: str) -> dict[str, object]:
        """Return the JSON object that a text is. Raises NotFoundHere for anything else."""
        value = _object(text)
        if not isinstance(value, dict) or not _is_shallow(value):
            raise NotFoundHere
        return value

    def encoded(self, tool: str, arguments: Mapping[str, object]) -> list[tuple[str, str]]:
        """Return arguments of an offered tool by name, converted, each as JSON text."""
        coerced = self._coercions[tool].coerce_arguments(self._with_schema_names(tool, arguments))
        return [(name, _json_text(value)) for name, value in coerced.items()]

    def argument_name(self, tool: str, name: str) -> str:
        """Return the schema's name of an argument; models may change upper and lower case."""
        (found,) = self._with_schema_names(tool, {name: None})
        return found

    def takes_text(self, tool: str, name: str) -> bool:
        """Return whether the text of an argument is its value, as far as the schema says."""
        types = self._coercions[tool].argument_types(name)
        return not types or "string" in types

    def text_argument(self, tool: str) -> str | None:
        """Return the name of the only argument of a tool that takes one text; else None."""
        if self._tools[tool].kind != "text":
            return None
        return next(iter(self.required(tool)), None)

    def required(self, tool: str) -> frozenset[str]:
        """Return the names of the arguments that a tool requires."""
        return self._argument_names(tool).required

    def has_arguments(self, tool: str, names: Collection[str]) -> bool:
        """Return whether the schema of a tool has all these arguments."""
        properties = self._argument_names(tool).properties
        return properties is not None and properties.issuperset(names)

    def from_json(self, value: object, *, bare: bool = False) -> list[ParsedCall]:
        """Return the calls in a JSON value.

        bare: there is no wrapper around it; so it must have a member for the arguments.
        """
        if isinstance(value, list) and value:
            return [call for item in value for call in self.from_json(item, bare=bare)]
        if not isinstance(value, dict) or not MEMBERS.issuperset(value):
            raise NotFoundHere
        nested = value.get("function")
        if len(inner := [key for key in NESTED if key in value]) == 1 and len(value) == 1:
            nested = value[inner[0]]
        if isinstance(nested, (dict, list)):
            return self.from_json(nested, bare=bare)
        names = [key for key in NAMES if key in value]
        argument_keys = [key for key in ARGUMENTS if key in value]
        if len(names) != 1 or len(argument_keys) > 1 or (bare and not argument_keys):
            raise NotFoundHere
        return [self.call(value[names[0]], value[argument_keys[0]] if argument_keys else None)]

    def from_element(self, element: markup.Element, *, bare: bool = False) -> list[ParsedCall]:
        """Return the calls in an element.

        bare: there is no wrapper around it; so the tag of a tool's name must fit its schema.
        """
        name = element.tag.name.lower()
        if name in self.tags:
            return [self._from_tool_tag(element, bare=bare)]
        if name not in CALLS:
            raise NotFoundHere
        members = _members(element)
        tool = _pop_first(members, NAMES)
        if tool is None and element.json is not None:
            return self.from_json(load_lenient_json(element.json))
        if element.json is not None:
            return [self.call(tool, element.json)]
        if isinstance(tool, str) and tool.lower() in _USE_TOOL and self.tool_name(tool) is None:
            tool = _pop_first(members, NAMES)
        arguments = _pop_first(members, ARGUMENTS)
        if isinstance(arguments, str):
            arguments = markup.parse_children(arguments) or _object(arguments)
        if arguments is None:
            arguments = {key: value for key, value in members.items() if key not in LABELS}
        return [self.call(tool, self._with_children(tool, arguments))]

    def _from_tool_tag(self, element: markup.Element, *, bare: bool) -> ParsedCall:
        tool = self.tool_name(element.tag.name)
        if tool is None:
            raise NotFoundHere
        if element.json is not None:
            arguments: object = load_lenient_json(element.json)
        else:
            arguments = _members(element)
        names = self._argument_names(tool)
        properties = names.properties
        if isinstance(arguments, dict) and element.json is None:
            arguments = self._with_schema_names(tool, arguments)
        if isinstance(arguments, dict) and len(arguments) == 1:
            (key,) = arguments
            if key in ARGUMENTS and key not in (properties or ()):
                inner = arguments[key]
                arguments = _object(inner) if isinstance(inner, str) else inner
        if not isinstance(arguments, dict):
            raise NotFoundHere
        if bare and not (
            names.required <= arguments.keys()
            and (properties is None or properties >= set(arguments))
        ):
            raise NotFoundHere
        return self.call(tool, self._with_children(tool, arguments))

    def _argument_names(self, tool: str) -> _ArgumentNames:
        """Return the names of a tool's arguments; they are prepared once."""
        if tool not in self._names:
            self._names[tool] = _argument_names(self._tools[tool].parameters)
        return self._names[tool]

    def _with_schema_names(self, tool: str, arguments: Mapping[str, object]) -> dict[str, object]:
        """Return the arguments under the schema's names; models may change upper and lower case."""
        names = self._argument_names(tool)
        properties = names.properties or frozenset()
        return {
            name if name in properties else names.folded.get(name.lower(), name): value
            for name, value in arguments.items()
        }

    def _with_children(self, tool: object, arguments: object) -> object:
        """Return the arguments with child tags as objects and lists, if the schema wants those."""
        name = self.tool_name(tool)
        if name is None or not isinstance(arguments, dict):
            return arguments
        coercion = self._coercions[name]
        converted = {}
        for key, value in self._with_schema_names(name, arguments).items():
            types = coercion.argument_types(key)
            if isinstance(value, str) and value.lstrip()[:1] == "<" and "string" not in types:
                value = markup.parse_children(value) or value
            if isinstance(value, dict) and types == ("array",) and len(value) == 1:
                (only,) = value.values()
                value = only if isinstance(only, list) else [only]
            converted[key] = value
        return converted


def _argument_names(schema: Mapping[str, Any]) -> _ArgumentNames:
    properties, required = schema.get("properties"), schema.get("required")
    names = list(properties) if isinstance(properties, Mapping) else []
    return _ArgumentNames(
        frozenset(names) if isinstance(properties, Mapping) else None,
        frozenset(n for n in required if isinstance(n, str))
        if isinstance(required, list)
        else frozenset(),
        {name.lower(): name for name in names},
    )


def _json_text(value: object) -> str:
    """Return a value as JSON text. Raises NotFoundHere for one that JSON does not have."""
    try:
        text = encode(value)
    except (ValueError, RecursionError):
        raise NotFoundHere from None
    if not text.isascii():  # may have a lone surrogate, written as an escape
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _is_shallow(value: object) -> bool:
    """Return whether the value is nested at most MAX_DEPTH deep, as any JSON parser accepts."""
    level = [value]
    for _ in range(MAX_DEPTH):
        inner: list[object] = []
        for item in level:
            if isinstance(item, dict):
                inner += item.values()
            elif isinstance(item, list):
                inner += item
        if not inner:
            return True
        level = inner
    return False


def _object(text: str) -> object:
    """Decode a JSON object, which may be encoded once more as a JSON string."""
    if not text.strip():
        return {}
    value = load_lenient_json(text)
    return load_lenient_json(value) if isinstance(value, str) else value


def _members(element: markup.Element) -> dict[str, object]:
    """Return attributes and children by name; a `parameter` has its name in an attribute."""
    members: dict[str, object] = {}
    for key, text in element.tag.attributes:
        folded = key.lower()
        markup.add_member(members, folded if folded in (*NAMES, *ARGUMENTS) else key, text)
    for tag, inner in element.children:
        attributes = dict(tag.attributes)
        key = tag.name
        if key.lower() in ("parameter", "param", "argument", "arg") and "name" in attributes:
            key = attributes["name"]
            inner = attributes.get("value", "") if tag.empty else inner
        elif key.lower() in (*NAMES, *ARGUMENTS):
            key = key.lower()
        if key in ARGUMENTS:
            markup.add_member(members, key, inner)
        else:
            start = inner.lstrip()[:2]
            has_tags = start[:1] == "<" and start != "<|"  # `<|` begins a role marker
            markup.add_member(members, key, inner if has_tags else markup.text_value(inner))
    return members


def _pop_first(members: dict[str, object], keys: Sequence[str]) -> object:
    """Remove and return the first of these members that is there; None if none is."""
    for key in keys:
        if key in members:
            return members.pop(key)
    return None
