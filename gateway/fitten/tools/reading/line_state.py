"""Follows the line in which the text of an answer ends: its last character, and inline code."""

from __future__ import annotations

import re

_TICKS = re.compile("`+")
_SENTENCE_ENDS = (".", "!", "?", "…", "。", "！", "？")
# Behind these a block of a native notation may begin in the same line.
_ENDS_OF_PARTS = (*".!?:…。！？：", "</think>", "</thinking>", "</thought>")
_LONGEST_END = max(map(len, _ENDS_OF_PARTS))


class LineState:
    """Describes the end of the text that was read so far.

    last: the last character of the line that is not blank; else a blank, or "" at its beginning.
    """

    __slots__ = ("_in_ticks", "_tail", "_ticks", "last")

    def __init__(self) -> None:
        self.start_line()

    def start_line(self) -> None:
        """Take what follows for the beginning of a line."""
        self.last = ""
        self._tail = ""  # the last characters since here, also of lines before
        self._ticks = 0  # runs of backticks in the line
        self._in_ticks = False  # whether the line ends with a backtick so far

    def advance(self, text: str) -> None:
        """Read more text, which is not empty."""
        line_end = text.rfind("\n") + 1
        line = text[line_end:]
        runs = len(_TICKS.findall(line))
        if not line_end:
            runs += self._ticks - (self._in_ticks and line[0] == "`")
        self._ticks, self._in_ticks = runs, line[-1:] == "`"
        whole = line if line_end else self.last + line
        self.last = whole.rstrip()[-1:] or whole[:1]
        self._tail = (self._tail + text)[-_LONGEST_END:]

    @property
    def is_blank(self) -> bool:
        """Return whether the line has only white space so far."""
        return not self.last.strip()

    @property
    def in_code(self) -> bool:
        """Return whether this is inline code."""
        return self._ticks % 2 == 1

    @property
    def at_sentence(self) -> bool:
        """Return whether a line or a sentence begins here."""
        return self.is_blank or self.last in _SENTENCE_ENDS

    @property
    def at_part(self) -> bool:
        """Return whether a line begins here, or a sentence or thoughts end directly before.

        The beginning of the thoughts may be missing.
        """
        return self.is_blank or self._tail.lower().endswith(_ENDS_OF_PARTS)
