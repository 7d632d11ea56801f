"""How large a prompt may be."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.errors import InvalidRequest
from gateway.generation.request import Message, inline_images

# Protocol 4.3 and 8: the official extension's own limit, in characters.
MAX_CHARS = 307_200

# Nothing is done with so much: what would be done takes long, and is for nothing.
MAX_EXAMINED_CHARS = 2 * MAX_CHARS


def too_long_error(
    size: int, messages: Sequence[Message], limit: int = MAX_CHARS
) -> InvalidRequest:
    """What a caller is told whose messages are so many characters."""
    drawn = sum(len(image.data) for image in inline_images(messages))
    return InvalidRequest(
        f"This model's maximum context length is {limit} characters. However, your messages "
        f"resulted in {size} characters. Please reduce the length of the messages."
        + (f" {drawn} of them are images: scale those down." if drawn else ""),
        code="context_length_exceeded",
        param="messages",
    )
