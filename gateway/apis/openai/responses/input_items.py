"""Parses the items of `input`: messages, calls of tools and their results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.apis.json_body import json_text
from gateway.apis.openai.content_parts import ContentPart, read_parts
from gateway.apis.openai.parameters import missing_parameter
from gateway.apis.openai.responses.tools import TEXT_ARGUMENT, DeclaredTools
from gateway.apis.openai.tool_calls import arguments_text
from gateway.errors import InvalidRequest
from gateway.generation.request import Image, Message, RemoteImage, Role, ToolCall
from gateway.images.sniff import ImageLimits
from gateway.redaction import word

# Of more items, few would fit into a prompt, and reading them would hold the event loop.
_MAX_ITEMS = 10_000

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}
_CALLS = frozenset(("function_call", "custom_tool_call", "local_shell_call", "tool_search_call"))
_RESULTS = frozenset(
    (
        *("function_call_output", "custom_tool_call_output", "local_shell_call_output"),
        "tool_search_output",
    )
)
# Thoughts, and searches whose results are not in the item: they say nothing to a model.
_DROPPED = frozenset(("reasoning", "web_search_call"))
_ALLOWED = (
    "message, function_call, function_call_output, custom_tool_call, custom_tool_call_output, "
    "local_shell_call, local_shell_call_output, tool_search_call, tool_search_output, reasoning"
)
_LOCAL_SHELL = "local_shell"

# Objects, numbers, true and false are results whose client did not write them as text.
_Output = str | list[ContentPart | str] | dict[str, Any] | int | float | bool


class InputItem(msgspec.Struct, gc=False):
    """Declares an item of `input`; other members are ignored. A message may have no type."""

    type: str | None = None
    role: str | None = None
    content: str | list[ContentPart | str] | None = None
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    namespace: str | None = None
    arguments: Any = None
    input: str | None = None
    action: Any = None
    output: _Output | None = None
    tools: list[dict[str, Any]] | None = None


def parse_input(
    given: str | Sequence[InputItem], offered: DeclaredTools, limits: ImageLimits
) -> list[Message]:
    """Parse `input`. Raises InvalidRequest that names the wrong field.

    offered: knows under which name the model sees a tool.
    """
    if isinstance(given, str):
        return [Message("user", given)]
    if len(given) > _MAX_ITEMS:
        raise InvalidRequest(
            f"The request is too long: it has {len(given)} items, and the limit is {_MAX_ITEMS}.",
            code="context_length_exceeded",
            param="input",
        )
    reader = _InputReader(offered, limits)
    for index, item in enumerate(given):
        reader.read(item, f"input[{index}]")
    reader.end_turn()
    return reader.messages


class _InputReader:
    """Reads items in order; those of an assistant that follow each other are one message."""

    def __init__(self, offered: DeclaredTools, limits: ImageLimits) -> None:
        self._offered = offered
        self._limits = limits
        self.messages: list[Message] = []
        self._texts: list[str] = []
        self._images: list[Image | RemoteImage] = []
        self._calls: list[ToolCall] = []
        self._in_turn = False  # whether the items of an assistant are being read

    def read(self, item: InputItem, path: str) -> None:
        kind = item.type
        if kind == "message" or (kind is None and item.role is not None):
            self._read_message(item, path)
        elif kind in _CALLS:
            self._in_turn = True
            self._calls.append(self._call(item, kind, path))
        elif kind in _RESULTS:
            self.end_turn()
            self.messages.append(self._result(item, kind, path))
        elif kind is None:
            raise missing_parameter(f"{path}.type")
        elif kind == "item_reference":
            raise InvalidRequest(
                "Nothing is stored here, so an item cannot be referred to; send the item itself.",
                code="unsupported_value",
                param=f"{path}.type",
            )
        elif kind not in _DROPPED:
            raise InvalidRequest(
                f"Items of type '{word(kind)}' are not supported; allowed: {_ALLOWED}.",
                code="unsupported_value",
                param=f"{path}.type",
            )

    def end_turn(self) -> None:
        """Add the message of the assistant whose items have been read."""
        if self._in_turn:
            self.messages.append(
                Message(
                    "assistant",
                    "\n".join(self._texts),
                    images=tuple(self._images),
                    calls=tuple(self._calls),
                )
            )
            self._texts, self._images, self._calls = [], [], []
            self._in_turn = False

    def _read_message(self, item: InputItem, path: str) -> None:
        if item.role is None:
            raise missing_parameter(f"{path}.role")
        role = _ROLES.get(item.role)
        if role is None:
            raise InvalidRequest(
                f"Messages of role '{word(item.role)}' are not supported; "
                f"allowed: {', '.join(_ROLES)}.",
                code="unsupported_value",
                param=f"{path}.role",
            )
        if item.content is None:
            raise missing_parameter(f"{path}.content")
        text, images = self._content(item.content, role, f"{path}.content")
        if role == "assistant":
            self._in_turn = True
            if text:
                self._texts.append(text)
            self._images += images
            return
        self.end_turn()
        self.messages.append(Message(role, text, images=images))

    def _content(
        self, content: str | list[ContentPart | str], role: str, path: str
    ) -> tuple[str, tuple[Image | RemoteImage, ...]]:
        if isinstance(content, str):
            return content, ()
        read = read_parts(content, role, path, self._limits)
        return read.text, tuple(read.images)

    def _call(self, item: InputItem, kind: str, path: str) -> ToolCall:
        call_id = item.call_id or item.id or ""
        if kind == "local_shell_call":
            return ToolCall(call_id, _LOCAL_SHELL, arguments_text(item.action))
        if kind == "tool_search_call":
            return ToolCall(call_id, self._offered.search_name, arguments_text(item.arguments))
        if not item.name:
            raise missing_parameter(f"{path}.name")
        if not item.call_id:
            raise missing_parameter(f"{path}.call_id")
        name = self._offered.shown_name(item.name, item.namespace or "")
        if kind == "custom_tool_call":
            return ToolCall(call_id, name, json_text({TEXT_ARGUMENT: item.input or ""}))
        return ToolCall(call_id, name, arguments_text(item.arguments))

    def _result(self, item: InputItem, kind: str, path: str) -> Message:
        call_id = item.call_id or item.id
        if kind == "tool_search_output":
            return Message("tool", self._found(item.tools or ()), call_id)
        if item.output is None:
            raise missing_parameter(f"{path}.output")
        if isinstance(item.output, str):
            return Message("tool", item.output, call_id)
        if not isinstance(item.output, list):
            return Message("tool", json_text(item.output), call_id)
        text, images = self._content(item.output, "result", f"{path}.output")
        return Message("tool", text, call_id, images=images)

    def _found(self, tools: Sequence[Mapping[str, Any]]) -> str:
        """Return the result of a search for tools; the list of tools describes what was found."""
        names = self._offered.names_of(tools)
        return f"These tools can be called now: {', '.join(names)}." if names else "No tool found."
