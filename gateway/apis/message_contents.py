"""Holds what the parts of a message say, and limits them, for dialects with such parts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.errors import InvalidRequest
from gateway.generation.request import Image, Message, RemoteImage, ToolCall
from gateway.redaction import word

MAX_MESSAGES = 10_000
"""Of more messages, few would fit into a prompt, and reading them would hold the event loop."""

_MAX_PARTS = 10_000
_MAX_IMAGES = 1000  # of a message; each must be examined, and so many fit into no prompt


@dataclass(slots=True)
class MessageContents:
    """Holds what the parts of a message say.

    texts, images: those of the message itself. calls: what an assistant called in parts.
    results: messages of tools that stand in parts.
    """

    texts: list[str] = field(default_factory=list)
    images: list[Image | RemoteImage] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    results: list[Message] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Return the texts, joined with line feeds."""
        return "\n".join(self.texts)


def too_many_messages(count: int) -> InvalidRequest:
    """Return the error for more than MAX_MESSAGES messages."""
    return InvalidRequest(
        f"The request is too long: it has {count} messages, and the limit is {MAX_MESSAGES}.",
        code="context_length_exceeded",
        param="messages",
    )


def check_part_count(count: int, path: str, name: str) -> None:
    """Raise InvalidRequest for too many parts of a message. name: what the dialect calls them."""
    if count > _MAX_PARTS:
        raise InvalidRequest(
            f"'{path}' takes up to {_MAX_PARTS} {name}.", code="context_length_exceeded", param=path
        )


def count_images(count: int, more: int, path: str) -> int:
    """Return the new count of a message's images. Raises InvalidRequest for too many."""
    if count + more > _MAX_IMAGES:
        raise InvalidRequest(
            f"'{path}' takes up to {_MAX_IMAGES} images.", code="unsupported_value", param=path
        )
    return count + more


def unknown_role(role: str, allowed: Iterable[str], path: str) -> InvalidRequest:
    """Return the error for a message of a role that is not among those that are allowed."""
    return InvalidRequest(
        f"Messages of role '{word(role)}' are not supported; allowed: {', '.join(allowed)}.",
        code="unsupported_value",
        param=f"{path}.role",
    )
