"""Defines how large a prompt may be, in characters and in tokens."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.errors import ContextLengthExceeded
from gateway.generation import token_estimate
from gateway.generation.compaction import is_compaction
from gateway.generation.request import GenerationRequest, Message, inline_images

# Protocol 4.3 and 8: the official extension's own limit, in characters.
MAX_CHARS = 307_200

RESERVE = MAX_CHARS * 8 // 100
"""So many characters of the limit are kept free for the request that sums up a conversation."""

WINDOW_CHARS = MAX_CHARS - RESERVE
"""What clients are told as the size of the context, so that they sum up before it is full."""


def max_chars(request: GenerationRequest) -> int:
    """Return how many characters the prompt of a request may have."""
    if request.keeps_reserve and not is_compaction(request):
        return WINDOW_CHARS
    return MAX_CHARS


def window(bytes_per_token: float) -> int:
    """Return the size of the context in tokens, for a text with one byte in each character.

    A text in Chinese has more bytes and so more tokens in as many characters. The number is the
    smallest one, because a client that is told too much sums up too late.
    """
    return int(WINDOW_CHARS / bytes_per_token)


def too_long_error(
    size: int,
    messages: Sequence[Message],
    limit: int = MAX_CHARS,
    bytes_per_token: float = token_estimate.BYTES_PER_TOKEN,
) -> ContextLengthExceeded:
    """Return the error for messages that are too long.

    size: characters of the messages. limit: characters that are allowed.
    bytes_per_token: turns both into the tokens that the usage counts. Images count as text here,
        since they take room in the prompt.
    """
    in_images = sum(len(image.data) for image in inline_images(messages))
    chars = sum(len(message.text) for message in messages) + in_images
    byte_count = sum(token_estimate.size(message.text) for message in messages) + in_images
    per_char = (byte_count / chars if chars else 1) / bytes_per_token
    most = int(limit * per_char)
    tokens = max(int(size * per_char), most + 1)
    return ContextLengthExceeded(
        f"This model's maximum context length is {most} tokens. However, your messages "
        f"resulted in {tokens} tokens ({size} of {limit} characters). Please reduce the length "
        "of the messages."
        + (f" {in_images} characters are images: scale those down." if in_images else ""),
        tokens=tokens,
        limit=most,
        chars=size,
        max_chars=limit,
    )
