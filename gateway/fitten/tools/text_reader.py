"""Reads text that is still arriving, from left to right, with generators. No I/O.

A method here is a generator that yields when it needs more text than has arrived. The code that
runs it then appends text, or sets `ended`, and continues it. A method reads only the text between
its position and `limit`. So the result depends only on the text, not on how it was split.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import TypeAlias, TypeVar

_T = TypeVar("_T")
Reading: TypeAlias = Generator[None, None, _T]

MAX_HELD = 256 * 1024
"""The most characters that are held back for one call, with its wrapper or fence."""

MAX_REREAD = 16 * MAX_HELD
"""The most characters of an answer that may be read again after a failed attempt."""

MAX_DEPTH = 64

_BLANK = " \t\r\n\f\v"
_QUOTES = {'"': '"', "“": "”"}
_IN_JSON = re.compile(r'["“\[\]{}]')
_IN_STRING = {'"': re.compile(r'["\\]'), "”": re.compile(r'[”"\\]')}
_SCALAR_END = re.compile(r"[,\]}\s]")


class NotFoundHere(Exception):
    """Reports that the text at this position is not what was expected, or not complete."""


class TooLongToHold(NotFoundHere):
    """Reports that the text is longer than may be held back."""


class TextReader:
    """Holds the text, the position in it, and how far it may be read.

    text, at: the text without what was forgotten, and the position in it.
    ended: whether no more text will come.
    limit: the position up to which text may be held back.
    reread: how many characters were read in failed attempts.
    """

    def __init__(self) -> None:
        self.text = ""
        self.at = 0
        self.ended = False
        self.limit = MAX_HELD
        self.reread = 0

    def begin(self) -> int:
        """Allow MAX_HELD characters to be held back from here; return the position."""
        if self.at > len(self.text) // 2:  # rarely enough that forgetting takes linear time
            self.text, self.at = self.text[self.at :], 0
        self.limit = self.at + MAX_HELD
        return self.at

    def backtrack(self, start: int) -> None:
        """Return to where a failed attempt began. Raises NotFoundHere beyond MAX_REREAD."""
        self.reread += self.at - start
        self.at = start
        if self.reread > MAX_REREAD:
            raise NotFoundHere

    def wait_for_text(self) -> Reading[bool]:
        """Wait for text; return False when none will come. Raises TooLongToHold at the limit."""
        if len(self.text) >= self.limit:
            raise TooLongToHold
        if self.ended:
            return False
        yield
        return True

    def peek(self, ahead: int = 0) -> Reading[str]:
        """Return the character that far ahead; "" behind the end."""
        where = self.at + ahead
        while where >= self.limit or where >= len(self.text):
            if where >= self.limit:
                raise TooLongToHold
            if not (yield from self.wait_for_text()):
                return ""
        return self.text[where]

    def at_turn_end(self) -> Reading[bool]:
        """Return whether the model's turn is over here: at the end, or before a `<|marker|>`."""
        return not (yield from self.peek()) or (yield from self.follows("<|"))

    def skip_white_space(self) -> Reading[None]:
        """Skip white space."""
        while (character := (yield from self.peek())) and character in _BLANK:
            self.at += 1

    def follows(self, word: str) -> Reading[bool]:
        """Return whether this word follows, in upper or lower case; `word` is in lower case."""
        for ahead, wanted in enumerate(word):
            if (yield from self.peek(ahead)).lower() != wanted:
                return False
        return True

    def expect(self, word: str) -> Reading[None]:
        """Skip this word, given in lower case. Raises NotFoundHere when it does not follow."""
        if not (yield from self.follows(word)):
            raise NotFoundHere
        self.at += len(word)

    def read_while(self, allowed: Callable[[str], bool], most: int) -> Reading[str]:
        """Read characters while they are allowed. Raises NotFoundHere for more than `most`."""
        start = self.at
        while (character := (yield from self.peek())) and allowed(character):
            self.at += 1
            if self.at - start > most:
                raise NotFoundHere
        return self.text[start : self.at]

    def search(self, wanted: re.Pattern[str], width: int = 1) -> Reading[re.Match[str]]:
        """Find the next match and move behind it.

        width: the most characters that a match can have.
        Raises NotFoundHere when the text ends before.
        """
        start = self.at
        while True:
            end = min(len(self.text), self.limit)
            if match := wanted.search(self.text, start, end):
                self.at = match.end()
                return match
            start = max(start, end - width + 1)
            if not (yield from self.wait_for_text()):
                self.at = end
                raise NotFoundHere

    def read_json(self) -> Reading[str]:
        """Read a JSON object or array and return its text.

        Only brackets and strings are checked. Raises NotFoundHere for anything else.
        """
        start, open_brackets = self.at, 0
        while True:
            character = self.text[self.at] if open_brackets else (yield from self.peek())
            if character in _QUOTES and open_brackets:
                yield from self.read_string()
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

    def read_string(self) -> Reading[str]:
        """Read a JSON string, in straight or full-width quotes, and return its text."""
        start = self.at
        close = _QUOTES.get((yield from self.peek()))
        if close is None:
            raise NotFoundHere
        self.at += 1
        while (yield from self.search(_IN_STRING[close]))[0] == "\\":
            yield from self.peek()
            self.at += 1
        return self.text[start : self.at]

    def read_json_value(self) -> Reading[str]:
        """Read any JSON value and return its text."""
        character = yield from self.peek()
        if character in _QUOTES:
            return (yield from self.read_string())
        if character and character in "[{":
            return (yield from self.read_json())
        start = self.at
        yield from self.search(_SCALAR_END)
        self.at -= 1
        return self.text[start : self.at]
