"""A text with a gap -> what Fitten wants to be told of it, and its answer -> the text to insert.

Protocol 6.2. No I/O. Positions are counted three ways: Python's characters, UTF-16 units as
the extension counts, and bytes of UTF-8 (trap 23).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from gateway.errors import UpstreamError

# Beyond so many characters a text is cut to half as many on either side of the cursor.
MAX_CHARS = 220_000
_HALF = MAX_CHARS // 2

# Trap 19 and protocol 6.2: what would be read as an instruction is deleted before sending.
_MARKERS = re.compile(
    r"<fim_(?:prefix|suffix|middle)>|!FC(?:PREFIX|SUFFIX|MIDDLE)!|<\|[a-z_]{0,64}\|>"
)
_LONGEST = 70  # characters of a marker
_ENDS = re.compile(r"<[|｜]end[_▁]?of[_▁]?text[|｜]>")


@dataclass(frozen=True, slots=True)
class GapDocument:
    """What Fitten is told: the text round the cursor, without markers.

    cut: whether it is only a part of the file.
    """

    prefix: str
    suffix: str
    cut: bool = False

    @property
    def text(self) -> str:
        return self.prefix + self.suffix


def gap_document(prefix: str, suffix: str) -> GapDocument:
    """The text that may be sent. Python's characters are whole ones, so a cut splits none."""
    whole = len(prefix) + len(suffix)
    # Of what lies farther off nothing would be left, and looking through it takes long.
    prefix, suffix = prefix[-2 * MAX_CHARS :], suffix[: 2 * MAX_CHARS]
    cut = len(prefix) + len(suffix) < whole
    prefix, suffix = _without_markers(prefix), _without_markers(suffix)
    while across := _marker_across(prefix, suffix):
        suffix = suffix[across:]
    if len(prefix) + len(suffix) <= MAX_CHARS:
        return GapDocument(prefix, suffix, cut)
    return GapDocument(prefix[-_HALF:], suffix[:_HALF], cut=True)


def _without_markers(text: str) -> str:
    """The text without markers, and without those that their going would leave behind."""
    text = _MARKERS.sub("", text)
    # Deleting again could go on for ever; a blank inside joins nothing.
    return _MARKERS.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)


def _marker_across(prefix: str, suffix: str) -> int:
    """How much of the suffix belongs to a marker that begins before the cursor."""
    before = prefix[-_LONGEST:]
    for found in _MARKERS.finditer(before + suffix[:_LONGEST]):
        if found.start() < len(before) < found.end():
            return found.end() - len(before)
    return 0


def digest(text: str) -> str:
    """The name by which the upstream knows a text; no secret depends on it."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def utf16_units(text: str) -> int:
    """Length in UTF-16 units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2


def utf16_size(text: str) -> int:
    """Length in bytes of UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def completion_request(of: GapDocument, filename: str, known: str | None = None) -> dict[str, Any]:
    """The body of a request.

    known: a text of the same file that the upstream has; only the difference is sent then.
    """
    text = of.text
    head, tail = _alike(known, text) if known is not None else (0, 0)
    end = len(text) - tail
    return {
        "inputs": "",
        "meta_datas": {
            "cpos": utf16_units(of.prefix),
            "bcpos": utf16_size(of.prefix),
            "diff": text[head:end],
            "plen": utf16_units(text[:head]),
            "slen": utf16_units(text[end:]),
            "bplen": utf16_size(text[:head]),
            "bslen": utf16_size(text[end:]),
            "pmd5": "" if known is None else digest(known),
            "nmd5": digest(text),
            "filename": filename,
            "pc_available": False,
            "pc_prompt": "",
            "pc_prompt_type": "0",
        },
    }


def insertion_of(answer: dict[str, Any], of: GapDocument) -> str:
    """What belongs at the cursor; "" where the upstream has no suggestion.

    The caller keeps all that stands after the cursor. Where the upstream means to replace
    some of it (`delta_char`), its text must end with what it replaces, and goes without
    it; any other replacement cannot be had by inserting, so there is no suggestion.
    Raises UpstreamError for an answer that is none.
    """
    text, more = answer.get("generated_text", ""), answer.get("ex_msg", "")
    if not isinstance(text, str) or not isinstance(more, str) or "ori_start_line" in answer:
        raise UpstreamError(
            "Fitten's completion cannot be understood.", code="upstream_invalid_response"
        )
    text = _ENDS.sub("", text + more).replace("\r\n", "\n").replace("\r", "\n")
    replaced = _replaced(answer, of.suffix)
    if replaced is None or not text.endswith(replaced):
        return ""
    text = text.removesuffix(replaced)
    rest = of.suffix.partition("\n")[0].removesuffix("\r")
    return "" if text == rest else text  # what is there already is no suggestion


def _replaced(answer: dict[str, Any], suffix: str) -> str | None:
    """The characters after the cursor that are to go; None when that is not to be told."""
    count, lines = answer.get("delta_char") or 0, answer.get("delta_line") or 0
    if type(count) is not int or count < 0 or lines:
        return None
    replaced = suffix.encode("utf-16-le")[: count * 2].decode("utf-16-le", "replace")
    return replaced if suffix.startswith(replaced) and utf16_units(replaced) == count else None


def _alike(old: str, new: str) -> tuple[int, int]:
    """How many characters are the same at the beginning and, beyond them, at the end."""
    most = min(len(old), len(new))
    head = _longest(most, lambda n: old[:n] == new[:n])
    tail = _longest(most - head, lambda n: old[len(old) - n :] == new[len(new) - n :])
    return head, tail


def _longest(most: int, same: Any) -> int:
    """The greatest length for which it is so, by halving: comparing is what C does best."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if same(middle) else (low, middle - 1)
    return low
