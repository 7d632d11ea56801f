"""Finds where an answer ends because the model began a turn that is not its own. No I/O."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gateway.generation.markdown import MarkdownState

MAX_BLANKS = 4096
"""The most white space behind a marker that is held back; with more the marker is text."""

_BLANKS = re.compile(r"\s*", re.ASCII)


class TurnEndFinder:
    """Finds the marker that ends an answer, among those that the answer quotes.

    markers: strings that the upstream writes between turns, each beginning with `<`. They are
        found in any case.
    opening: the marker before the model's own turn. Before any text it ends nothing.
    begun: the text before the answer, which continues it. A fence may have begun in it.

    A marker ends the answer only at the start of a line, outside code fences and inline code. A
    line end and text must follow, which is a turn that the model made up; or nothing at all but
    white space. Every other marker is text: losing text is worse than showing a marker.

    `advance` takes the text that is decided, `find` and `strip_end` look at the text behind it.
    """

    def __init__(self, markers: Sequence[str], opening: str = "", begun: str = "") -> None:
        any_of = "|".join(re.escape(marker) for marker in markers)
        flags = re.ASCII | re.IGNORECASE
        self._first = re.compile(rf"(?:{any_of})(?=\s|\Z)", flags)
        self._next = re.compile(rf"\n(?:{any_of})(?=\s|\Z)", flags)
        self._words = tuple(marker.lower() for marker in markers)
        self._longest = max(map(len, markers))
        self._opening = opening.lower()
        self._state = MarkdownState()
        self._state.advance(begun)
        self._end_line()  # the model may end its turn at once
        self._begun = False  # whether there has been any text but white space

    def advance(self, text: str) -> None:
        """Take text that is part of the answer."""
        self._begun = self._begun or not text.isspace()
        self._state.advance(text)

    def start_line(self) -> None:
        """Start a line, since something that is not text came."""
        self._begun = True
        self._end_line()

    def find(self, text: str) -> tuple[int, int | None] | None:
        """Return where the first marker that ends the answer begins; None if there is none.

        The second number is where the text ends that decides it: the first character of the
        next turn. It is None while the text does not decide it.
        """
        if "<" not in text:
            return None
        state, done, at = self._state.copy(), 0, 0
        while (marker := self._next_marker(text, at)) is not None:
            start, after = marker
            blanks = _BLANKS.match(text, after)
            assert blanks is not None
            undecided = blanks.end() == len(text)
            at = after
            if blanks.end() - after > MAX_BLANKS:
                continue
            if not undecided and not text.startswith(("\n", "\r\n"), after):
                continue
            if not undecided and self._is_opening(text, start, after):
                continue
            state.advance(text[done:start])
            done = start
            if not state.in_code:
                return start, None if undecided else blanks.end() + 1
            at = max(at, state.end_of_code(text, start))
        start = text.rfind("\n") + 1
        if start or self._state.at_line_start:
            last = text[start:].lower() if len(text) - start < self._longest else ""
            if last and any(word.startswith(last) for word in self._words):
                state.advance(text[done:start])
                if not state.in_code:
                    return start, None
        return None

    def strip_end(self, text: str) -> str:
        """Return the text without the marker that ends it, if nothing follows the text."""
        found = self.find(text)
        if found is not None and self._first.match(text, found[0]):
            return text[: found[0]]
        return text

    def _end_line(self) -> None:
        if not self._state.at_line_start:
            self._state.advance("\n")

    def _next_marker(self, text: str, at: int) -> tuple[int, int] | None:
        """Return where the next marker at the start of a line begins and ends."""
        if not at and self._state.at_line_start and (match := self._first.match(text)):
            return match.span()
        match = self._next.search(text, at)
        return None if match is None else (match.start() + 1, match.end())

    def _is_opening(self, text: str, start: int, after: int) -> bool:
        return (
            not self._begun
            and text[start:after].lower() == self._opening
            and not text[:start].strip()
        )
