"""Removes from bodies what is not quite JSON, where the meaning of the client is certain."""

from __future__ import annotations

from gateway.generation.surrogates import replace_half_characters

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # some editors and .NET programs write it before UTF-8


def repaired(body: bytes) -> tuple[bytes, int]:
    """Return a body without a byte order mark and without halves of characters.

    Also returns how many halves were replaced. A body that needs no repair is returned as it is.
    """
    return replace_half_characters(body.removeprefix(_BYTE_ORDER_MARK))
