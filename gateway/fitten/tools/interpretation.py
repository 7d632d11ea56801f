"""What models write when they call a tool -> calls (protocol 4.6). No I/O.

The words of each notation stand here, and how JSON and elements made of them are
understood; `blocks` finds where they begin and end, `markup` how tags are written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from gateway.fitten.tools import markup
from gateway.fitten.tools.argument_coercion import ArgumentCoercion
from gateway.fitten.tools.text_reader import MAX_DEPTH, NotFoundHere
from gateway.generation.request import Tool

WRAPPERS = ("function_calls", "tool_calls")
CALLS = ("invoke", "function_call", "tool_call", "tool")
RESULTS = ("function_results", "function_result", "tool_results", "tool_result", "tool_response")

NAMES = ("name", "tool_name", "tool", "function", "function_name")
ARGUMENTS = ("arguments", "args", "parameters", "params", "input")
LABELS = ("id", "type", "index", "call_id", "tool_call_id")
NESTED = ("tool_calls", "function_call", "tool_call")
MEMBERS = frozenset((*NAMES, *ARGUMENTS, *LABELS, *NESTED))

NO_PARAMETERS: Mapping[str, object] = {"type": "object", "properties": {}}
"""How a tool without a schema is described."""

_USE_TOOL = ("use_tool", "call_tool")
_STRAIGHT = str.maketrans("“”＂", '"""')


@dataclass(frozen=True, slots=True)
class ParsedCall:
    """A call of an offered tool; `arguments` is the text of a JSON object."""

    name: str
    arguments: str


class ToolInterpreter:
    """The offered tools, and how calls of them are understood.

    Each method raises NoCall for what is no call of an offered tool.
    """

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._fitters = {tool.name: ArgumentCoercion(tool.parameters) for tool in tools}
        self._folded: dict[str, str | None] = {}
        for name in self._tools:
            folded = name.lower()
            self._folded[folded] = None if folded in self._folded else name
        # What a tag must be called to be the tag of a tool; the words above go first.
        known = {*WRAPPERS, *CALLS, *RESULTS} - {"tool"}
        self.tags = frozenset(name for name in self._folded if name not in known)

    def known(self, name: object) -> str | None:
        """The offered tool that a name stands for, in any case if that leaves no doubt."""
        if not isinstance(name, str):
            return None
        name = name.strip()
        return name if name in self._tools else self._folded.get(name.lower())

    def call(self, name: object, arguments: object) -> ParsedCall:
        """The call of a tool with arguments, given as an object or as its JSON."""
        tool = self.known(name)
        if tool is None:
            raise NotFoundHere
        if isinstance(arguments, str):
            arguments = _object(arguments)
        if arguments is None:
            arguments = {}
        if not isinstance(arguments, dict) or not _is_shallow(arguments):
            raise NotFoundHere
        if arguments and arguments in (self._tools[tool].parameters, NO_PARAMETERS):
            raise NotFoundHere  # the list of tools, repeated from the prompt
        try:
            fitted = self._fitters[tool].fit_arguments(arguments)
            text = json.dumps(fitted, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        except (ValueError, RecursionError):
            raise NotFoundHere from None
        if not text.isascii():  # half of a surrogate pair, written as an escape
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return ParsedCall(tool, text)

    def from_json(self, value: object, *, bare: bool = False) -> list[ParsedCall]:
        """The calls in a JSON value. bare: it stands alone, so it must say that it is a call."""
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
        arguments = [key for key in ARGUMENTS if key in value]
        if len(names) != 1 or len(arguments) > 1 or (bare and not arguments):
            raise NotFoundHere
        return [self.call(value[names[0]], value[arguments[0]] if arguments else None)]

    def from_element(self, element: markup.Element, *, bare: bool = False) -> list[ParsedCall]:
        """The calls in an element. bare: it stands alone, so a tool's tag must fit its schema."""
        name = element.tag.name.lower()
        if name in self.tags:
            return [self._from_tool_tag(element, bare=bare)]
        if name not in CALLS:
            raise NotFoundHere
        members = _members(element)
        tool = _taken(members, NAMES)
        if tool is None and element.json is not None:
            return self.from_json(load_lenient_json(element.json))
        if element.json is not None:
            return [self.call(tool, element.json)]
        if isinstance(tool, str) and tool.lower() in _USE_TOOL and self.known(tool) is None:
            tool = _taken(members, NAMES)
        given = _taken(members, ARGUMENTS)
        if isinstance(given, str):
            given = markup.children(given) or _object(given)
        if given is None:
            given = {key: value for key, value in members.items() if key not in LABELS}
        return [self.call(tool, self._with_children(tool, given))]

    def _from_tool_tag(self, element: markup.Element, *, bare: bool) -> ParsedCall:
        tool = self.known(element.tag.name)
        if tool is None:
            raise NotFoundHere
        if element.json is not None:
            given: object = load_lenient_json(element.json)
        else:
            given = _members(element)
        properties, required = self._shape(tool)
        if isinstance(given, dict) and element.json is None:
            given = self._named(tool, given)
        if isinstance(given, dict) and len(given) == 1:
            (key,) = given
            if key in ARGUMENTS and key not in (properties or ()):
                given = _object(given[key]) if isinstance(given[key], str) else given[key]
        if not isinstance(given, dict):
            raise NotFoundHere
        if bare and not (
            required <= given.keys() and (properties is None or properties >= set(given))
        ):
            raise NotFoundHere
        return self.call(tool, self._with_children(tool, given))

    def _shape(self, tool: str) -> tuple[set[str] | None, set[str]]:
        """The names of the arguments, None where the schema names none, and those required."""
        schema = self._tools[tool].parameters
        properties, required = schema.get("properties"), schema.get("required")
        return (
            set(properties) if isinstance(properties, Mapping) else None,
            {n for n in required if isinstance(n, str)} if isinstance(required, list) else set(),
        )

    def _named(self, tool: str, given: dict[str, object]) -> dict[str, object]:
        """The members under the schema's names, which a model may write in another case."""
        properties = self._shape(tool)[0] or set()
        folded = {name.lower(): name for name in properties}
        return {
            name if name in properties else folded.get(name.lower(), name): value
            for name, value in given.items()
        }

    def _with_children(self, tool: object, given: object) -> object:
        """Child tags become objects and lists where the schema wants those."""
        name = self.known(tool)
        if name is None or not isinstance(given, dict):
            return given
        fitter = self._fitters[name]
        shaped = {}
        for key, value in self._named(name, given).items():
            types = fitter.types(fitter.member(key))
            if isinstance(value, str) and value.lstrip()[:1] == "<" and "string" not in types:
                value = markup.children(value) or value
            if isinstance(value, dict) and types == ("array",) and len(value) == 1:
                (only,) = value.values()
                value = only if isinstance(only, list) else [only]
            shaped[key] = value
        return shaped


def load_lenient_json(text: str) -> Any:
    """A JSON value as models write it: raw line ends in strings, full-width quotes, entities.

    Raises NoCall.
    """
    readings: tuple[Callable[[str], str], ...] = (str, _straight, markup.unescape)
    for reading in readings:
        try:
            return json.loads(reading(text), strict=False, parse_constant=_refuse)
        except (ValueError, RecursionError):
            continue
    raise NotFoundHere


def _is_shallow(value: object) -> bool:
    """Whether nothing in the value is nested deeper than every JSON reader bears."""
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


def _straight(text: str) -> str:
    return text.translate(_STRAIGHT)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)  # NaN and the like are not JSON


def _object(text: str) -> object:
    """The object in a text, which may itself be written as a string of JSON."""
    if not text.strip():
        return {}
    value = load_lenient_json(text)
    return load_lenient_json(value) if isinstance(value, str) else value


def _members(element: markup.Element) -> dict[str, object]:
    """Attributes and children by name; a `parameter` is named by its attribute."""
    members: dict[str, object] = {}
    for key, text in element.tag.attributes:
        markup.add(members, key.lower() if key.lower() in (*NAMES, *ARGUMENTS) else key, text)
    for tag, inner in element.children:
        attributes = dict(tag.attributes)
        key = tag.name
        if key.lower() in ("parameter", "param", "argument", "arg") and "name" in attributes:
            key = attributes["name"]
            inner = attributes.get("value", "") if tag.empty else inner
        elif key.lower() in (*NAMES, *ARGUMENTS):
            key = key.lower()
        if key in ARGUMENTS:
            markup.add(members, key, inner)
        else:
            markup.add(members, key, inner if inner.lstrip()[:1] == "<" else markup.content(inner))
    return members


def _taken(members: dict[str, object], keys: Sequence[str]) -> object:
    """The first of these members, removed from the others."""
    for key in keys:
        if key in members:
            return members.pop(key)
    return None
