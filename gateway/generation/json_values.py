"""Decodes JSON of unknown origin, after a count of its values. No I/O.

Decoding takes as long as a text has values, whatever its size. A text of 20 MB in one string takes
20 ms; 20 MB of `[],` take two seconds. So the values are counted first, by a few searches for
single bytes. A text with too many of them is not decoded.
"""

from __future__ import annotations

import math
from typing import Any, NoReturn

import msgspec

from gateway.generation.surrogates import replace_half_characters

MAX_VALUES = 100_000
"""The most values of a text that is decoded; with what follows, they take 50 ms at most.

A string, a name of a member, a number and a list count once. What takes longer counts more: an
object three times, a number with a point or an exponent three times, true and false too.
"""

_MAX_MARKS = 800_000
"""The most quotes, the most backslashes, and the most commas and brackets; strings included.

A prompt can have no more than 614,400 of them. With more, the count itself would take long.
"""


_EXAMINED = 32_768  # bytes; the beginning of a text with too many values
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class TooManyValues(ValueError):
    """Reports that a text has more values than are decoded."""


def decode(text: bytes) -> Any:
    """Decode a JSON text. Raises ValueError, TooManyValues or RecursionError."""
    if exceeds(text, MAX_VALUES):
        refuse(text)
    return decode_counted(text)


def refuse(text: bytes) -> NoReturn:
    """Raise TooManyValues, or what is wrong with the beginning of the text.

    What could be repaired is not wrong: a repair would only be followed by a second count.
    """
    beginning, _ = replace_half_characters(text[:_EXAMINED].removeprefix(_BYTE_ORDER_MARK))
    try:
        decode_counted(beginning)
    except msgspec.DecodeError as error:
        if str(error) != "Input data was truncated":
            raise
    raise TooManyValues


def exceeds(text: bytes, most: int) -> bool:
    """Return whether a JSON text has more values than this, counted as for MAX_VALUES.

    What is not JSON is counted in the same way, and as fast.
    """
    if 3 * len(text) <= most:
        return False
    if len(text) <= _MAX_MARKS:
        # One pass is enough for nearly all texts, and costs a third of the searches below.
        marks = len(text) - len(text.translate(None, b'",[{'))
        if 5 * marks + 4 <= most:
            return False
    quotes = text.count(b'"')
    others = text.count(b",") + text.count(b"[") + text.count(b"{")
    if max(quotes, others, text.count(b"\\")) > _MAX_MARKS:
        return True
    if 2 * quotes + 5 * others + 4 <= most:
        return False
    text = _without_escapes(text)
    strings = text.count(b'"') // 2
    if strings > most:
        return True
    # What stands between strings. Commas and brackets in strings, which code has, do not count.
    text = b"".join(text.split(b'"')[::2])
    slow = text.count(b".") + text.count(b"e") + text.count(b"E")
    lists = text.count(b",") + text.count(b"[")
    return strings + lists + 3 * text.count(b"{") + 2 * slow > most


def count_strings(text: bytes) -> int:
    """Return how many strings a valid JSON text has, names of members included."""
    return _without_escapes(text).count(b'"') // 2


def _without_escapes(text: bytes) -> bytes:
    """Return the text without escaped backslashes and quotes, so that each quote is an end."""
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    return text


def _float(text: str) -> float:
    """Return a number; Python's own conversion has no slow cases, unlike msgspec's (`1e300`)."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("Number out of range")
    return number


decode_counted = msgspec.json.Decoder(float_hook=_float).decode
"""Decodes a text that is known to have few values."""
