"""Parses the tools and tool calls of a chat request, and encodes the calls of an answer."""

from __future__ import annotations

import json
import random
import re
import string
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from gateway.apis.openai.parameters import missing_parameter
from gateway.errors import InvalidRequest
from gateway.generation.pieces import Piece
from gateway.generation.request import Tool, ToolCall, ToolChoice
from gateway.redaction import word

MAX_TOOLS = 256

_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_RANDOM = random.SystemRandom()
_ID_CHARACTERS = string.ascii_letters + string.digits


class FunctionDefinition(msgspec.Struct):
    """Declares a function that the model may call."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolDefinition(msgspec.Struct):
    """Declares an item of `tools`."""

    type: str
    function: FunctionDefinition | None = None


class NamedFunction(msgspec.Struct):
    """Declares the function of a `tool_choice`."""

    name: str


class NamedToolChoice(msgspec.Struct):
    """Declares a `tool_choice` that names a function."""

    type: str
    function: NamedFunction | None = None


class ToolCallFunction(msgspec.Struct):
    """Declares the function of a call in the history."""

    name: str
    arguments: str | dict[str, Any] | None = None


class MessageToolCall(msgspec.Struct):
    """Declares an item of a message's `tool_calls`."""

    function: ToolCallFunction | None = None
    id: str | None = None
    type: str | None = None


def parse_tools(specs: Sequence[ToolDefinition] | None) -> tuple[Tool, ...]:
    """Parse the tools of a request. Raises InvalidRequest that names the wrong tool."""
    if not specs:
        return ()
    if len(specs) > MAX_TOOLS:
        raise InvalidRequest(
            f"'tools' takes up to {MAX_TOOLS} tools, not {len(specs)}.",
            code="unsupported_value",
            param="tools",
        )
    tools: dict[str, Tool] = {}
    for index, spec in enumerate(specs):
        tool = _tool(spec, f"tools[{index}]")
        if tool.name in tools:
            raise InvalidRequest(
                f"Two tools have the name '{word(tool.name)}'.",
                code="unsupported_value",
                param=f"tools[{index}].function.name",
            )
        tools[tool.name] = tool
    return tuple(tools.values())


def parse_tool_choice(given: str | NamedToolChoice | None, tools: Sequence[Tool]) -> ToolChoice:
    """Parse the `tool_choice` of a request.

    Raises InvalidRequest when it is unknown or names a tool that is not offered.
    """
    if given is None or given == "auto":
        return ToolChoice()
    if given == "none":
        return ToolChoice("none")
    if given == "required" and tools:
        return ToolChoice("required")
    if (
        isinstance(given, NamedToolChoice)
        and given.type == "function"
        and given.function is not None
    ):
        name = given.function.name
        if any(tool.name == name for tool in tools):
            return ToolChoice("named", name)
        raise InvalidRequest(
            f"'tool_choice' names '{word(name)}', which is not among 'tools'.",
            code="unsupported_value",
            param="tool_choice.function.name",
        )
    raise InvalidRequest(
        "'tool_choice' must be 'auto', 'none', 'required' or the name of a function. "
        "The last two need 'tools'.",
        code="unsupported_value",
        param="tool_choice",
    )


def parse_tool_calls(calls: Iterable[MessageToolCall] | None, path: str) -> tuple[ToolCall, ...]:
    """Parse the calls of an assistant's message.

    path: where they are in the request. Raises InvalidRequest for a call without a function.
    """
    parsed = []
    for index, call in enumerate(calls or ()):
        if call.function is None:
            where = f"{path}[{index}].function"
            raise missing_parameter(where)
        arguments = call.function.arguments
        if isinstance(arguments, dict):
            arguments = json.dumps(arguments, ensure_ascii=False)
        parsed.append(ToolCall(call.id or "", call.function.name, arguments or ""))
    return tuple(parsed)


class ToolCallFrames:
    """Encodes the `delta`s of an answer's calls; each call gets a number and an id."""

    def __init__(self) -> None:
        self._index = -1

    def delta(self, piece: Piece) -> bytes:
        """Return the member of a `delta` for a piece of kind "call" or "arguments"."""
        kind, text = piece
        if kind == "call":
            self._index += 1
            call = {"index": self._index, **_tool_call_object(text)}
        else:
            call = {"index": self._index, "function": {"arguments": text}}
        return b'"tool_calls":' + msgspec.json.encode([call])


def tool_call_objects(pieces: Iterable[Piece]) -> list[dict[str, Any]]:
    """Return the `tool_calls` of a whole answer."""
    calls: list[dict[str, Any]] = []
    arguments: list[list[str]] = []
    for kind, text in pieces:
        if kind == "call":
            calls.append(_tool_call_object(text))
            arguments.append([])
        elif kind == "arguments":
            arguments[-1].append(text)
    for call, texts in zip(calls, arguments, strict=True):
        call["function"]["arguments"] = "".join(texts)
    return calls


def _tool_call_object(name: str) -> dict[str, Any]:
    random_part = "".join(_RANDOM.choice(_ID_CHARACTERS) for _ in range(24))
    return {
        "id": f"call_{random_part}",
        "type": "function",
        "function": {"name": name, "arguments": ""},
    }


def _tool(spec: ToolDefinition, path: str) -> Tool:
    if spec.type != "function":
        raise InvalidRequest(
            f"Tools of type '{word(spec.type)}' are not supported; offer functions.",
            code="unsupported_value",
            param=f"{path}.type",
        )
    function = spec.function
    if function is None:
        raise missing_parameter(f"{path}.function")
    if not _NAME.fullmatch(function.name):
        raise InvalidRequest(
            f"'{path}.function.name' takes 1 to 128 letters, digits and any of _-.: only.",
            code="unsupported_value",
            param=f"{path}.function.name",
        )
    return Tool(function.name, function.description or "", function.parameters or {})
