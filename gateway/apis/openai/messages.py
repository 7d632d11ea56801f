"""Parses the messages of a chat request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.apis.json_body import json_text, type_name
from gateway.apis.message_contents import MAX_MESSAGES, too_many_messages, unknown_role
from gateway.apis.openai.content_parts import ContentPart, read_parts
from gateway.apis.openai.parameters import missing_parameter
from gateway.apis.openai.tool_calls import (
    MessageToolCall,
    ToolCallFunction,
    parse_function_call,
    parse_tool_calls,
)
from gateway.errors import InvalidRequest
from gateway.generation.request import Image, Message, RemoteImage, Role, ToolCall
from gateway.images.sniff import ImageLimits

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


# Objects, numbers, true and false are results of tools whose client did not write them as text.
_Content = str | list[ContentPart | str] | dict[str, Any] | int | float | bool | msgspec.UnsetType


class ChatMessage(msgspec.Struct, gc=False):
    """Declares an item of `messages`; other members are ignored."""

    role: str
    content: _Content | None = msgspec.UNSET
    name: Any = None
    tool_call_id: str | None = None
    tool_calls: list[MessageToolCall] | None = None
    function_call: ToolCallFunction | None = None
    refusal: Any = None


def parse_messages(given: Sequence[ChatMessage], limits: ImageLimits) -> tuple[Message, ...]:
    """Parse the messages of a request. Raises InvalidRequest that names the wrong field."""
    if len(given) > MAX_MESSAGES:
        raise too_many_messages(len(given))
    messages: list[Message] = []
    for index, message in enumerate(given):
        role = _ROLES.get(message.role)
        if role is None:
            raise unknown_role(message.role, _ROLES, f"messages[{index}]")
        if isinstance(message.content, list):
            messages += _with_parts(message, message.content, role, f"messages[{index}]", limits)
            continue
        text = message.content
        if not isinstance(text, str):
            text = _other_text(message, role, f"messages[{index}].content")
        if role == "assistant":
            messages.append(_assistant(message, text, f"messages[{index}]"))
        elif role == "tool":
            messages.append(Message("tool", text, _call_id(message)))
        else:
            messages.append(Message(role, text))
    return tuple(messages)


def _with_parts(
    given: ChatMessage, parts: list[ContentPart | str], role: Role, path: str, limits: ImageLimits
) -> list[Message]:
    """Return the messages that one item stands for: Anthropic's results of tools are parts."""
    read = read_parts(parts, role, f"{path}.content", limits)
    images = tuple(read.images)
    if role == "assistant":
        return [_assistant(given, read.text, path, images, read.calls)]
    call_id = _call_id(given) if role == "tool" else None
    if read.results and not (read.texts or images):
        return read.results
    return [*read.results, Message(role, read.text, call_id, images)]


def _assistant(
    given: ChatMessage,
    text: str,
    path: str,
    images: tuple[Image | RemoteImage, ...] = (),
    calls: Sequence[ToolCall] = (),
) -> Message:
    if not text and isinstance(given.refusal, str):
        text = given.refusal  # so a refused answer comes back in the history
    if given.tool_calls:
        calls = [*calls, *parse_tool_calls(given.tool_calls, f"{path}.tool_calls")]
    if given.function_call is not None:
        calls = [*calls, parse_function_call(given.function_call)]
    return Message("assistant", text, images=images, calls=tuple(calls))


def _call_id(given: ChatMessage) -> str | None:
    """Return what links the result of a tool to its call: older clients have the name only."""
    return given.tool_call_id or (given.name if isinstance(given.name, str) else None)


def _other_text(given: ChatMessage, role: Role, path: str) -> str:
    """Return the text of a content that is neither a string nor an array of parts."""
    content = given.content
    if content is None or content is msgspec.UNSET:
        if role in ("assistant", "tool"):
            return ""
        if content is msgspec.UNSET:
            raise missing_parameter(path)
    elif role == "tool":
        return json_text(content)
    raise InvalidRequest(
        f"'{path}' must be a string or an array of parts, not {type_name(content)}.",
        code="invalid_type",
        param=path,
    )
