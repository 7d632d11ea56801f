"""A guess at token counts, where the upstream gives none and takes no limit.

Four bytes of UTF-8 count as a token: a quarter for a Latin letter, three quarters for a
Chinese character. Bytes can be added up piece by piece, so the guess, and a cut made by
it, do not depend on how a text was split.
"""

from __future__ import annotations

BYTES_PER_TOKEN = 4


def size(text: str) -> int:
    """The text's length in bytes of UTF-8; a lone surrogate counts as three."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def estimate(byte_count: int) -> int:
    """How many tokens so many bytes probably are, rounded up."""
    return -(-byte_count // BYTES_PER_TOKEN)


def prefix(text: str, byte_count: int) -> str:
    """The longest beginning of the text that is at most so many bytes."""
    if text.isascii():
        return text[:byte_count]
    data = text.encode("utf-8", "surrogatepass")
    while byte_count < len(data) and data[byte_count] & 0xC0 == 0x80:
        byte_count -= 1  # within a character
    return data[:byte_count].decode("utf-8", "surrogatepass")
