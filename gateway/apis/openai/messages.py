"""Parses the messages of a chat request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.apis.openai.content_parts import ContentPart, ReadParts, read_parts
from gateway.apis.openai.parameters import missing_parameter
from gateway.apis.openai.tool_calls import (
    MessageToolCall,
    ToolCallFunction,
    parse_function_call,
    parse_tool_calls,
)
from gateway.errors import InvalidRequest
from gateway.generation.request import Message, Role
from gateway.images.sniff import ImageLimits
from gateway.redaction import word

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


class ChatMessage(msgspec.Struct):
    """Declares an item of `messages`; other members are ignored."""

    role: str
    content: str | list[ContentPart | str] | msgspec.UnsetType | None = msgspec.UNSET
    name: Any = None
    tool_call_id: str | None = None
    tool_calls: list[MessageToolCall] | None = None
    function_call: ToolCallFunction | None = None
    refusal: Any = None


def parse_messages(given: Iterable[ChatMessage], limits: ImageLimits) -> tuple[Message, ...]:
    """Parse the messages of a request. Raises InvalidRequest that names the wrong field."""
    messages: list[Message] = []
    for index, message in enumerate(given):
        role = _ROLES.get(message.role)
        if role is None:
            raise InvalidRequest(
                f"Messages of role '{word(message.role)}' are not supported; "
                f"allowed: {', '.join(_ROLES)}.",
                code="unsupported_value",
                param=f"messages[{index}].role",
            )
        if isinstance(message.content, str) and (role == "user" or role == "system"):
            messages.append(Message(role, message.content))
        else:
            messages += _parse(message, role, f"messages[{index}]", limits)
    return tuple(messages)


def _parse(given: ChatMessage, role: Role, path: str, limits: ImageLimits) -> list[Message]:
    """Return the messages that one item stands for: Anthropic's results of tools are parts."""
    read = ReadParts()
    if isinstance(given.content, list):
        read = read_parts(given.content, role, f"{path}.content", limits)
    elif isinstance(given.content, str):
        read.texts.append(given.content)
    elif role in ("system", "user"):
        raise _no_content(given, f"{path}.content")
    message = Message(role, read.text, images=tuple(read.images))
    if role == "assistant":
        return [_assistant(message, given, read, path)]
    if role == "tool":
        name = given.name if isinstance(given.name, str) else None
        message = Message("tool", message.text, given.tool_call_id or name, message.images)
    if read.results and not (read.texts or read.images):
        return read.results
    return [*read.results, message]


def _assistant(message: Message, given: ChatMessage, read: ReadParts, path: str) -> Message:
    text = message.text
    if not text and isinstance(given.refusal, str):
        text = given.refusal  # so a refused answer comes back in the history
    calls = [*read.calls, *parse_tool_calls(given.tool_calls, f"{path}.tool_calls")]
    if given.function_call is not None:
        calls.append(parse_function_call(given.function_call))
    return Message("assistant", text, images=message.images, calls=tuple(calls))


def _no_content(given: ChatMessage, path: str) -> InvalidRequest:
    if given.content is msgspec.UNSET:
        return missing_parameter(path)
    return InvalidRequest(
        f"'{path}' must be a string or an array of parts, not null.",
        code="invalid_type",
        param=path,
    )
