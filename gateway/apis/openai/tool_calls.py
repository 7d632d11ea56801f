"""Parses the tool calls of a conversation, and encodes the calls of an answer."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from gateway.apis.json_body import json_text
from gateway.apis.openai.parameters import missing_parameter
from gateway.generation.pieces import Piece
from gateway.generation.request import ToolCall


class ToolCallFunction(msgspec.Struct, gc=False):
    """Declares the function of a call in the history; arguments may be JSON or its text."""

    name: str
    arguments: Any = None


class CustomCall(msgspec.Struct, gc=False):
    """Declares a call in the history of a tool that takes a text."""

    name: str
    input: str | None = None


class MessageToolCall(msgspec.Struct, gc=False):
    """Declares an item of a message's `tool_calls`."""

    function: ToolCallFunction | None = None
    custom: CustomCall | None = None
    id: str | None = None


def parse_tool_calls(calls: Iterable[MessageToolCall] | None, path: str) -> list[ToolCall]:
    """Parse the calls of an assistant's message.

    path: where they are in the request. Raises InvalidRequest for a call without a function.
    """
    parsed = []
    for index, call in enumerate(calls or ()):
        if call.function is not None:
            arguments = call.function.arguments
            parsed.append(ToolCall(call.id or "", call.function.name, arguments_text(arguments)))
        elif call.custom is not None:
            parsed.append(ToolCall(call.id or "", call.custom.name, call.custom.input or ""))
        else:
            raise missing_parameter(f"{path}[{index}].function")
    return parsed


def parse_function_call(call: ToolCallFunction) -> ToolCall:
    """Parse the `function_call` of an assistant's message.

    It has no id. Its result names the function, so the name links the two.
    """
    return ToolCall(call.name, call.name, arguments_text(call.arguments))


def arguments_text(arguments: Any) -> str:
    """Return the arguments of a call as JSON text, as most clients send them."""
    if isinstance(arguments, str):
        return arguments
    return "" if arguments is None else json_text(arguments)


class CallFrames(Protocol):
    """Encodes the `delta`s of an answer's calls."""

    def delta(self, piece: Piece) -> bytes:
        """Return the member of a `delta` for a piece of kind "call" or "arguments"."""
        ...


class FunctionCallFrames:
    """Encodes the `delta`s of a call for clients that sent `functions`."""

    def delta(self, piece: Piece) -> bytes:
        """Return the member `function_call`."""
        kind, text = piece
        call = {"name": text, "arguments": ""} if kind == "call" else {"arguments": text}
        return b'"function_call":' + msgspec.json.encode(call)


class ToolCallFrames:
    """Encodes the `delta`s of an answer's calls; each call gets a number and an id."""

    def __init__(self) -> None:
        self._index = -1

    def delta(self, piece: Piece) -> bytes:
        """Return the member `tool_calls`."""
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
    return {
        "id": f"call_{os.urandom(12).hex()}",
        "type": "function",
        "function": {"name": name, "arguments": ""},
    }
