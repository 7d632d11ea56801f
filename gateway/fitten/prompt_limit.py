"""Defines how large a prompt may be."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.errors import InvalidRequest
from gateway.generation.request import Message, inline_images

# Protocol 4.3 and 8: the official extension's own limit, in characters.
MAX_CHARS = 307_200


def too_long_error(
    size: int, messages: Sequence[Message], limit: int = MAX_CHARS
) -> InvalidRequest:
    """Return the error for messages that are too long.

    size: characters of the messages. limit: characters that are allowed.
    """
    in_images = sum(len(image.data) for image in inline_images(messages))
    return InvalidRequest(
        f"This model's maximum context length is {limit} characters. However, your messages "
        f"resulted in {size} characters. Please reduce the length of the messages."
        + (f" {in_images} of them are images: scale those down." if in_images else ""),
        code="context_length_exceeded",
        param="messages",
    )
