"""Joins halves of characters, or replaces them: a program cut a text within an emoji. No I/O.

JavaScript and Java count an emoji as two surrogates, so a text that they cut may end with one of
them. A text that is cut at a byte ends with a part of a UTF-8 sequence. Neither is a character,
and strict parsers refuse the whole document. U+FFFD takes the place of each half.
"""

from __future__ import annotations

import re
from typing import Generic, TypeVar

_Kind = TypeVar("_Kind", bound=str)

_REPLACEMENT = "\ufffd"

_HIGH = rb"[89abAB][0-9a-fA-F]{2}"
_LOW = rb"[c-fC-F][0-9a-fA-F]{2}"
# An escaped surrogate without its other half. Escaped backslashes must be hidden before.
_ESCAPED_HALF = re.compile(
    rb"\\u[dD](?:%b(?!\\u[dD]%b)|(?<!\\u[dD]%b\\u[dD])%b)" % (_HIGH, _LOW, _HIGH, _LOW)
)
_HIDDEN_BACKSLASHES = b"\0\0"  # no JSON in UTF-8 has this byte
# The first two or three bytes of a longer sequence. One such byte alone is more likely a letter
# of another encoding, in which nothing can be repaired.
_CUT_SEQUENCE = re.compile(
    rb"(?:[\xe0-\xef][\x80-\xbf]|[\xf0-\xf4][\x80-\xbf]{1,2})(?![\x80-\xbf])"
)
# Surrogates as if they were characters: UTF-8 has none, but Java and others write them.
_RAW_HIGH, _RAW_LOW = rb"\xed[\xa0-\xaf][\x80-\xbf]", rb"\xed[\xb0-\xbf][\x80-\xbf]"
_RAW_PAIR = re.compile(_RAW_HIGH + _RAW_LOW)
_RAW_HALF = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_HALF = re.compile("[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]")

# A text that a program cut has few halves. Work on more of them would hold the event loop.
_MOST_HALVES = 10_000
_MOST_CANDIDATES = 200_000  # escapes that could be halves
_LARGEST_RAW = 1_000_000  # bytes that are searched for halves which are not escaped


def replace_half_characters(raw: bytes) -> tuple[bytes, int]:
    """Return JSON without halves of characters, and how many were replaced.

    The time is linear in the length and bounded. So in a document with very many halves some
    stay. What is not UTF-8 for other reasons stays as it is.
    """
    count = 0
    if not raw.isascii() and len(raw) <= _LARGEST_RAW:
        raw, count = _replace_raw(raw)
    candidates = raw.count(rb"\ud") + raw.count(rb"\uD")
    if not 0 < candidates <= _MOST_CANDIDATES or b"\0" in raw:
        return raw, count
    hidden = raw.replace(rb"\\", _HIDDEN_BACKSLASHES)
    hidden, escaped = _ESCAPED_HALF.subn(rb"\\ufffd", hidden, _MOST_HALVES)
    if escaped:
        raw = hidden.replace(_HIDDEN_BACKSLASHES, rb"\\")
    return raw, count + escaped


def _replace_raw(raw: bytes) -> tuple[bytes, int]:
    replacement = _REPLACEMENT.encode()
    raw, cut = _CUT_SEQUENCE.subn(replacement, raw, _MOST_HALVES)
    raw = _RAW_PAIR.sub(_character, raw, _MOST_HALVES)
    raw, halves = _RAW_HALF.subn(replacement, raw, _MOST_HALVES)
    return raw, cut + halves


def _character(pair: re.Match[bytes]) -> bytes:
    """Return the character of two surrogates that were encoded separately (CESU-8)."""
    return replace_halves(pair[0].decode("utf-8", "surrogatepass"))[0].encode()


def replace_halves(text: str) -> tuple[str, int]:
    """Return a text in which U+FFFD replaces each half, and how many; pairs become characters."""
    text, count = _HALF.subn(_REPLACEMENT, text)
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le"), count


class SurrogateJoiner(Generic[_Kind]):
    """Joins the two halves of a character that came in two texts of one kind.

    waiting: by kind, the first half at the end of the last text.
    """

    def __init__(self) -> None:
        self.waiting: dict[_Kind, str] = {}

    def join(self, kind: _Kind, text: str) -> str:
        """Return the text with U+FFFD for lone halves; a first half at its end waits.

        A decoder of JSON has joined all pairs but those that came in two texts. The text is not
        empty; what is returned may be.
        """
        high = self.waiting.pop(kind, "")
        if high and "\udc00" <= text[0] <= "\udfff":
            pair, text = high + text[0], text[1:]
            high = pair.encode("utf-16", "surrogatepass").decode("utf-16")
        text = high + text
        if "\ud800" <= text[-1] <= "\udbff":
            text, self.waiting[kind] = text[:-1], text[-1]
        return _SURROGATE.sub(_REPLACEMENT, text)

    def flush(self) -> list[tuple[_Kind, str]]:
        """Return U+FFFD for each half that waits; nothing more will come."""
        kinds, self.waiting = list(self.waiting), {}
        return [(kind, _REPLACEMENT) for kind in kinds]
