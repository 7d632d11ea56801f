"""Parses the system prompt and the messages of a Messages request."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.apis.anthropic.content_blocks import ContentBlock, read_blocks
from gateway.apis.message_contents import MAX_MESSAGES, too_many_messages, unknown_role
from gateway.generation.request import Message, Role
from gateway.images.sniff import ImageLimits

_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system"}
# Claude Code begins its system prompt with such a block. It is for Anthropic's accounting.
_BILLING = "x-anthropic-billing-header:"

Content = str | list[ContentBlock | str]


class MessageParameter(msgspec.Struct, gc=False):
    """Declares an item of `messages`; other members are ignored."""

    role: str
    content: Content | None = None


def parse_system(given: Content | None, limits: ImageLimits) -> str:
    """Return the system prompt, its blocks separated by blank lines."""
    if not isinstance(given, list):
        return given or ""
    texts = read_blocks(given, "system", "system", limits).texts
    return "\n\n".join([text for text in texts if text and not text.startswith(_BILLING)])


def parse_messages(given: Sequence[MessageParameter], limits: ImageLimits) -> list[Message]:
    """Parse the messages of a request. Raises InvalidRequest that names the wrong field."""
    if len(given) > MAX_MESSAGES:
        raise too_many_messages(len(given))
    messages: list[Message] = []
    for index, message in enumerate(given):
        role = _ROLES.get(message.role)
        if role is None:
            raise unknown_role(message.role, _ROLES, f"messages[{index}]")
        if isinstance(message.content, list):
            messages += _with_blocks(message.content, role, f"messages[{index}].content", limits)
        else:
            messages.append(Message(role, message.content or ""))
    return messages


def _with_blocks(
    blocks: list[ContentBlock | str], role: Role, path: str, limits: ImageLimits
) -> list[Message]:
    """Return the messages that one item stands for: each result of a tool is one, and first."""
    read = read_blocks(blocks, role, path, limits)
    if read.results and not (read.texts or read.images):
        return read.results
    message = Message(role, read.text, images=tuple(read.images), calls=tuple(read.calls))
    return [*read.results, message]
