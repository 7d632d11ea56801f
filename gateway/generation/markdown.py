"""Follows the Markdown of a text: whether its next line is code. No I/O."""

from __future__ import annotations

import copy
import re

_MAX_LINE = 4096
"""A longer line is no fence and not blank; it is read in parts of this length."""

_MAX_MARKS = 5000
"""The most backtick runs and fences that are read, so that no text costs much time."""

_FENCE = re.compile(
    r"(?P<indent>[ \t>]*(?P<item>(?:[-*+]|\d{1,9}[.)])[ \t]+)?)(?P<run>`{3,}|~{3,})(?P<info>.*)"
)
_TICKS = re.compile("`+")
_BLANK_LINE = re.compile(rf"^[^\S\n]{{0,{_MAX_LINE}}}\n", re.MULTILINE)


class MarkdownState:
    """Tells whether the line that begins next is in a code fence or in inline code.

    The result does not depend on how the text was split. In doubt a line is code:
    - A fence with a language inside a fence needs an end of its own, since models write
      Markdown in a Markdown fence.
    - After an unpaired backtick all lines up to the next blank one may be inline code.
    - After `_MAX_MARKS` backtick runs and fences everything may be code.
    """

    __slots__ = (
        "_continued",
        "_depth",
        "_fence",
        "_indent",
        "_line",
        "_marks_left",
        "_ticks",
        "_unpaired",
    )

    def __init__(self) -> None:
        self._line = ""  # the current line so far, or its last part
        self._continued = False  # whether earlier parts of the line have been read
        self._fence = ""  # the character of the open fence; "" outside
        self._ticks = 0  # its length
        self._indent = 0  # its columns of indentation
        self._depth = 0  # fences that are open in each other
        self._unpaired = False  # whether the paragraph has an unpaired backtick
        self._marks_left = _MAX_MARKS

    @property
    def at_line_start(self) -> bool:
        """Return whether the next character is the first of a line."""
        return not self._line and not self._continued

    @property
    def in_code(self) -> bool:
        """Return whether a line that begins here may be code."""
        return bool(self._fence) or self._unpaired or self._marks_left < 0

    def end_of_code(self, text: str, at: int) -> int:
        """Return up to where all lines are code, if one begins at this place of a text in code."""
        if self._marks_left < 0:
            return len(text)
        if self._fence:
            place = text.find(self._fence * 3, at)
            return len(text) if place < 0 else place
        blank = _BLANK_LINE.search(text, at)
        return len(text) if blank is None else blank.start()

    def copy(self) -> MarkdownState:
        """Return a copy, to look ahead."""
        return copy.copy(self)

    def advance(self, text: str) -> None:
        """Read the text that follows."""
        text = self._line + text
        at = 0
        end = text.rfind("\n") + 1
        if self._continued and end:
            at = text.find("\n") + 1
            self._read_parts(text[: at - 1])
            self._continued = False
        if at < end and self._marks_left >= 0:
            if "`" in text or "~~~" in text:
                self._read_lines(text, at, end)
            elif self._unpaired:
                self._read_blank_lines(text, at, end)
        self._line = text[end:]
        if len(self._line) > _MAX_LINE:
            whole = len(self._line) // _MAX_LINE * _MAX_LINE
            self._read_parts(self._line[:whole])
            self._line = self._line[whole:]
            self._continued = True

    def _read_lines(self, text: str, at: int, end: int) -> None:
        """Read whole lines; those without a mark cost only a search."""
        tick, tilde = text.find("`", at, end), text.find("~~~", at, end)
        while at < end and self._marks_left >= 0:
            if self._fence:
                place = text.find(self._fence * 3, at, end)
            else:
                if 0 <= tick < at:
                    tick = text.find("`", at, end)
                if 0 <= tilde < at:
                    tilde = text.find("~~~", at, end)
                place = tick if tilde < 0 or 0 <= tick < tilde else tilde
            if place < 0:
                break
            start = text.rfind("\n", at, place) + 1 or at
            if self._unpaired:
                self._read_blank_lines(text, at, start)
            line_end = text.find("\n", place)
            self._read_line(text[start:line_end])
            at = line_end + 1
        if self._unpaired:
            self._read_blank_lines(text, at, end)

    def _read_blank_lines(self, text: str, at: int, end: int) -> None:
        if _BLANK_LINE.search(text, at, end):
            self._unpaired = False

    def _read_line(self, line: str) -> None:
        if len(line) > _MAX_LINE:
            self._read_parts(line)
            return
        self._marks_left -= 1
        found = _FENCE.match(line)
        if found is None or not self._read_fence(found):
            self._read_inline(line)

    def _read_parts(self, line: str) -> None:
        for start in range(0, len(line), _MAX_LINE):
            self._read_inline(line[start : start + _MAX_LINE])

    def _read_fence(self, found: re.Match[str]) -> bool:
        """Open or close a fence; return False when the line has inline code instead."""
        run, info = found["run"], found["info"].strip()
        if run[0] == "`" and "`" in info:
            return False
        indent = len(found["indent"].expandtabs(4))
        if not self._fence:
            self._fence, self._ticks, self._indent = run[0], len(run), indent
            self._depth = 1
            self._unpaired = False
        elif run[0] == self._fence and len(run) >= self._ticks and indent <= self._indent + 3:
            self._depth += 1 if info or found["item"] else -1
            if not self._depth:
                self._fence = ""
        return True

    def _read_inline(self, line: str) -> None:
        """Note an unpaired backtick run, or one that may be escaped."""
        if self._fence or "`" not in line:
            return
        runs = [len(run) for run in _TICKS.findall(line)]
        self._marks_left -= len(runs)
        opened = 0
        for run in runs:
            if not opened:
                opened = run
            elif run == opened:
                opened = 0
        if opened or "\\`" in line:
            self._unpaired = True
