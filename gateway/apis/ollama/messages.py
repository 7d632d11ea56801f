"""Parses the messages of a chat: texts, images, calls of tools and their results."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence

import msgspec

from gateway.apis.message_contents import (
    MAX_MESSAGES,
    count_images,
    too_many_messages,
    unknown_role,
)
from gateway.apis.ollama.tools import HistoryCall, arguments_text
from gateway.apis.parameters import missing_parameter
from gateway.generation.request import Image, Message, RemoteImage, Role, ToolCall
from gateway.images.sniff import ImageLimits, image_from_url

_ROLES: dict[str, Role] = {
    "system": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_THOUGHTS = "thinking"  # the role of a message of Continue's with thoughts


class OllamaMessage(msgspec.Struct, gc=False):
    """Declares an item of `messages`; other members are ignored.

    Thoughts of earlier answers are no part of the conversation.
    """

    role: str
    content: str | None = None
    images: list[str] | None = None
    tool_calls: list[HistoryCall] | None = None
    tool_name: str | None = None
    name: str | None = None
    tool_call_id: str | None = None


def parse_messages(given: Sequence[OllamaMessage], limits: ImageLimits) -> tuple[Message, ...]:
    """Parse the messages of a chat. Raises InvalidRequest that names the wrong field."""
    if len(given) > MAX_MESSAGES:
        raise too_many_messages(len(given))
    links = _CallLinks()
    messages: list[Message] = []
    for index, message in enumerate(given):
        path = f"messages[{index}]"
        if message.role == _THOUGHTS:
            continue
        role = _ROLES.get(message.role.lower())
        if role is None:
            raise unknown_role(message.role, _ROLES, path)
        images = parse_images(message.images, f"{path}.images", limits)
        text = message.content or ""
        if role == "tool":
            name = message.tool_name or message.name
            call_id = links.answered(message.tool_call_id, name)
            messages.append(Message("tool", text, call_id, images))
            continue
        calls = _calls(message.tool_calls or (), path, links) if role == "assistant" else ()
        messages.append(Message(role, text, images=images, calls=calls))
    return tuple(messages)


def parse_images(
    given: Sequence[str] | None, path: str, limits: ImageLimits
) -> tuple[Image | RemoteImage, ...]:
    """Parse images, each in base64 without the beginning of a data URL. Raises InvalidRequest."""
    if not given:
        return ()
    count_images(0, len(given), path)
    return tuple([_image(text, f"{path}[{index}]", limits) for index, text in enumerate(given)])


def _image(text: str, here: str, limits: ImageLimits) -> Image | RemoteImage:
    url = text if text.startswith("data:") else f"data:;base64,{text}"
    return image_from_url(url, limits, here)


def _calls(given: Sequence[HistoryCall], path: str, links: _CallLinks) -> tuple[ToolCall, ...]:
    if given:
        links.begin()
    calls = []
    for index, call in enumerate(given):
        if call.function is None:
            raise missing_parameter(f"{path}.tool_calls[{index}].function")
        function = call.function
        call_id = links.called(call.id, function.name)
        calls.append(ToolCall(call_id, function.name, arguments_text(function.arguments)))
    return tuple(calls)


class _CallLinks:
    """Links results to calls where the client sends no ids.

    A result answers the first open call of its name, or the first one if it has no name. Only
    the calls of the last turn can be open.
    """

    def __init__(self) -> None:
        self._count = 0
        self._open: OrderedDict[str, None] = OrderedDict()  # ids
        self._by_name: dict[str, deque[str]] = {}

    def begin(self) -> None:
        """Forget the calls of the turn before."""
        self._open.clear()
        self._by_name.clear()

    def called(self, given: str | None, name: str) -> str:
        """Note a call and return its id: that of the client, or a number."""
        self._count += 1
        call_id = given or f"call_{self._count}"
        self._open[call_id] = None
        self._by_name.setdefault(name, deque()).append(call_id)
        return call_id

    def answered(self, given: str | None, name: str | None) -> str | None:
        """Return the id of the call that a result answers: the name, if it answers none."""
        if given:
            self._open.pop(given, None)
            return given
        if not name:
            return self._open.popitem(last=False)[0] if self._open else None
        ids = self._by_name.get(name) or deque()
        while ids:
            call_id = ids.popleft()
            if call_id in self._open:
                del self._open[call_id]
                return call_id
        return name
