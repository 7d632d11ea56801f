"""Writes descriptions of tools and arguments, and shortens them visibly to a budget. No I/O.

A description may have several lines. Every line but its first begins with `|`, so that no line
of a description looks like a tool or an argument.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.fitten.tools.writing.schema_references import encode_json

# The characters that a description keeps at each stage; the last keeps its first sentence.
LIMITS = (1_200, 300, 0)
_LONGEST_SENTENCE = 200
_SENTENCE = re.compile(r"[.!?](?=\s)|[。！？\n]")
_MARK = " [cut: {:,} more characters]"
_MARK_SIZE = 40


@dataclass(slots=True, eq=False)
class Description:
    """Holds a description, as long as it is shown.

    indent: what stands before each further line; None for a JSON string on one line.
    whole: whether it must not be shortened.
    shown: how many of its characters are shown; None for all.
    """

    text: str
    indent: str | None
    whole: bool = False
    shown: int | None = None

    def write(self) -> str:
        """Return the text as it stands behind a name or a type."""
        text = self.text
        if self.shown is not None:
            kept = text[: self.shown].rstrip()
            text = kept + _MARK.format(len(text) - len(kept))
        if self.indent is None:
            return encode_json(text)
        if "\n" not in text:
            return text
        return text.replace("\n", f"\n{self.indent}| ").replace("| \n", "|\n")

    def shorten(self, limit: int) -> bool:
        """Show at most `limit` characters, 0: the first sentence; return whether that is less."""
        size = len(self.text) if self.shown is None else self.shown
        end = limit or self._first_sentence()
        if self.whole or end + _MARK_SIZE >= size:
            return False
        self.shown = end
        return True

    def _first_sentence(self) -> int:
        found = _SENTENCE.search(self.text, 0, _LONGEST_SENTENCE)
        return found.end() if found else _LONGEST_SENTENCE


def clean(text: object) -> str:
    """Return a description with `\\n` as its only line end, without blank lines at its ends."""
    return "\n".join(text.strip().splitlines()) if isinstance(text, str) else ""


def shorten_all(descriptions: Sequence[Description], excess: int) -> int:
    """Cut descriptions, the longest first, until their texts are `excess` characters less.

    Returns the stage: 0 when nothing was shortened, else 1, 2 or 3 by `LIMITS`.
    """
    ordered = sorted(descriptions, key=lambda description: -len(description.text))
    stage = 0
    for number, limit in enumerate(LIMITS, 1):
        for description in ordered:
            if excess <= 0:
                return stage
            before = len(description.write())
            if description.shorten(limit):
                stage = number
                excess -= before - len(description.write())
    return stage
