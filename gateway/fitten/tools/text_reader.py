"""Text that is still arriving, read from left to right by generators. No I/O.

A reader is a generator that yields whenever it wants more text than has arrived; whoever
drives it appends text, or ends it, and goes on. A reader looks only at what follows its
position and never further than `limit`, so what it finds depends on the text alone and
not on how the text was cut into pieces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import TypeAlias, TypeVar

_T = TypeVar("_T")
Reading: TypeAlias = Generator[None, None, _T]

MAX_HELD = 256 * 1024
"""The most characters that one call, with what stands round it, may have."""

MAX_WASTED = 16 * MAX_HELD
"""How many characters of an answer may be read in vain; more cost too much."""

MAX_DEPTH = 64

_BLANK = " \t\r\n\f\v"
_QUOTES = {'"': '"', "“": "”"}
_IN_JSON = re.compile(r'["“\[\]{}]')
_IN_STRING = {'"': re.compile(r'["\\]'), "”": re.compile(r'[”"\\]')}
_SCALAR_END = re.compile(r"[,\]}\s]")


class NotFoundHere(Exception):
    """What is being read is not, or not wholly, what was looked for."""


class TooLongToHold(NotFoundHere):
    """It is longer than may be held back."""


class TextReader:
    """The text, the position reached in it, and how far it may be read."""

    def __init__(self) -> None:
        self.text = ""
        self.at = 0
        self.ended = False
        self.limit = MAX_HELD
        self.wasted = 0

    def begin(self) -> int:
        """Start a new allowance here and return the position."""
        if self.at > len(self.text) // 2:  # so rarely that forgetting costs linear time
            self.text, self.at = self.text[self.at :], 0
        self.limit = self.at + MAX_HELD
        return self.at

    def back(self, start: int) -> None:
        """Return to where reading began, in vain. Raises NoCall when that was too often."""
        self.wasted += self.at - start
        self.at = start
        if self.wasted > MAX_WASTED:
            raise NotFoundHere

    def more(self) -> Reading[bool]:
        """Wait for text; False when none will come. Raises TooLong at the limit."""
        if len(self.text) >= self.limit:
            raise TooLongToHold
        if self.ended:
            return False
        yield
        return True

    def peek(self, ahead: int = 0) -> Reading[str]:
        """The character so far ahead, or "" behind the end."""
        where = self.at + ahead
        while where >= self.limit or where >= len(self.text):
            if where >= self.limit:
                raise TooLongToHold
            if not (yield from self.more()):
                return ""
        return self.text[where]

    def skip_blank(self) -> Reading[None]:
        """Go to the next character that is not blank, or the end."""
        while (character := (yield from self.peek())) and character in _BLANK:
            self.at += 1

    def follows(self, word: str) -> Reading[bool]:
        """Whether the word, in lower case, stands here in any case."""
        for ahead, wanted in enumerate(word):
            if (yield from self.peek(ahead)).lower() != wanted:
                return False
        return True

    def expect(self, word: str) -> Reading[None]:
        """Go past the word, given in lower case. Raises NoCall where it is not."""
        if not (yield from self.follows(word)):
            raise NotFoundHere
        self.at += len(word)

    def while_in(self, allowed: Callable[[str], bool], most: int) -> Reading[str]:
        """Go past characters that are allowed and return them. Raises NoCall beyond `most`."""
        start = self.at
        while (character := (yield from self.peek())) and allowed(character):
            self.at += 1
            if self.at - start > most:
                raise NotFoundHere
        return self.text[start : self.at]

    def search(self, wanted: re.Pattern[str], width: int = 1) -> Reading[re.Match[str]]:
        """The next match, at most `width` characters wide; the position goes behind it.

        Raises NoCall when the text ends before.
        """
        start = self.at
        while True:
            end = min(len(self.text), self.limit)
            if match := wanted.search(self.text, start, end):
                self.at = match.end()
                return match
            start = max(start, end - width + 1)
            if not (yield from self.more()):
                self.at = end
                raise NotFoundHere

    def json(self) -> Reading[str]:
        """Go past a JSON object or array and return its text.

        Only its brackets and strings are looked at. Raises NoCall for anything else.
        """
        start, open_brackets = self.at, 0
        while True:
            character = self.text[self.at] if open_brackets else (yield from self.peek())
            if character in _QUOTES and open_brackets:
                yield from self.string()
            elif character and character in "[{":
                open_brackets += 1
                self.at += 1
            elif character and character in "]}" and open_brackets:
                open_brackets -= 1
                self.at += 1
            else:
                raise NotFoundHere
            if open_brackets > MAX_DEPTH:
                raise NotFoundHere
            if not open_brackets:
                return self.text[start : self.at]
            yield from self.search(_IN_JSON)
            self.at -= 1

    def string(self) -> Reading[str]:
        """Go past a JSON string, in straight or full-width quotes, and return its text."""
        start = self.at
        close = _QUOTES.get((yield from self.peek()))
        if close is None:
            raise NotFoundHere
        self.at += 1
        while (yield from self.search(_IN_STRING[close]))[0] == "\\":
            yield from self.peek()
            self.at += 1
        return self.text[start : self.at]

    def json_value(self) -> Reading[str]:
        """Go past any JSON value and return its text."""
        character = yield from self.peek()
        if character in _QUOTES:
            return (yield from self.string())
        if character and character in "[{":
            return (yield from self.json())
        start = self.at
        yield from self.search(_SCALAR_END)
        self.at -= 1
        return self.text[start : self.at]
