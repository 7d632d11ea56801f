"""Builds the request for a text with a gap (protocol 6.2). No I/O.

Positions have three units: characters of Python, UTF-16 code units as in the official
extension, and bytes of UTF-8 (trap 23).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

# A longer text is cut to half as many characters on each side of the cursor.
MAX_CHARS = 220_000
_HALF = MAX_CHARS // 2

# Trap 19 and protocol 6.2: Fitten would take these as instructions, so they are deleted.
_MARKERS = re.compile(
    r"<fim_(?:prefix|suffix|middle)>|!FC(?:PREFIX|SUFFIX|MIDDLE)!|<\|[a-z_]{0,64}\|>"
)
_MAX_MARKER = 70  # characters


@dataclass(frozen=True, slots=True)
class GapDocument:
    """Holds the text before and after the cursor, without markers.

    cut: whether it is only a part of the file.
    """

    prefix: str
    suffix: str
    cut: bool = False

    @property
    def text(self) -> str:
        return self.prefix + self.suffix


def gap_document(prefix: str, suffix: str) -> GapDocument:
    """Return the text that can be sent: without markers, and not too long.

    It is cut between characters of Python, so no UTF-16 surrogate pair is split.
    """
    whole = len(prefix) + len(suffix)
    # Text farther away would be cut anyway, and searching it for markers takes long.
    prefix, suffix = prefix[-2 * MAX_CHARS :], suffix[: 2 * MAX_CHARS]
    cut = len(prefix) + len(suffix) < whole
    prefix, suffix = _without_markers(prefix), _without_markers(suffix)
    while across := _marker_across(prefix, suffix):
        suffix = suffix[across:]
    if len(prefix) + len(suffix) <= MAX_CHARS:
        return GapDocument(prefix, suffix, cut)
    return GapDocument(prefix[-_HALF:], suffix[:_HALF], cut=True)


def _without_markers(text: str) -> str:
    """Return the text without markers, and without markers that their removal creates."""
    text = _MARKERS.sub("", text)
    # Removing again could create new ones again and again; a blank inside cannot.
    return _MARKERS.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)


def _marker_across(prefix: str, suffix: str) -> int:
    """Return how many characters of the suffix belong to a marker that begins in the prefix."""
    before = prefix[-_MAX_MARKER:]
    for found in _MARKERS.finditer(before + suffix[:_MAX_MARKER]):
        if found.start() < len(before) < found.end():
            return found.end() - len(before)
    return 0


def digest(text: str) -> str:
    """Return the MD5 by which Fitten identifies a text; it protects no secret."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def utf16_length(text: str) -> int:
    """Return the length in UTF-16 code units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2


def utf8_length(text: str) -> int:
    """Return the length in bytes of UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def completion_request(
    document: GapDocument, filename: str, known: str | None = None
) -> dict[str, Any]:
    """Return the body of a request.

    known: a text of the same file that Fitten has; then only the difference is sent.
    """
    text = document.text
    head, tail = _common_ends(known, text) if known is not None else (0, 0)
    end = len(text) - tail
    return {
        "inputs": "",
        "meta_datas": {
            "cpos": utf16_length(document.prefix),
            "bcpos": utf8_length(document.prefix),
            "diff": text[head:end],
            "plen": utf16_length(text[:head]),
            "slen": utf16_length(text[end:]),
            "bplen": utf8_length(text[:head]),
            "bslen": utf8_length(text[end:]),
            "pmd5": "" if known is None else digest(known),
            "nmd5": digest(text),
            "filename": filename,
            "pc_available": False,
            "pc_prompt": "",
            "pc_prompt_type": "0",
        },
    }


def _common_ends(old: str, new: str) -> tuple[int, int]:
    """Return how many characters are equal at the beginning and, beyond them, at the end."""
    shortest = min(len(old), len(new))
    head = _longest_equal(shortest, lambda n: old[:n] == new[:n])
    tail = _longest_equal(shortest - head, lambda n: old[len(old) - n :] == new[len(new) - n :])
    return head, tail


def _longest_equal(limit: int, equal: Any) -> int:
    """Return the greatest length up to `limit` for which `equal` is true.

    Binary search, since comparing whole strings is fast in C.
    """
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if equal(middle) else (low, middle - 1)
    return low
