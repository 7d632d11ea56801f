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

MAX_CREDIT = 100_000
"""The most work that may be saved up for later attempts; see `TextReader.spend`."""

ATTEMPT = 60
"""What an attempt costs, besides what it reads."""

MAX_DEPTH = 64

_FAST = 16  # characters that are searched in the time of a unit
_BLANK = " \t\r\n\f\v"
_BRACKETS = "[]{}"
_WHITE_SPACE = re.compile(f"[{_BLANK}]*")
_QUOTES = {'"': '"', "“": "”"}
_IN_JSON = re.compile(r'["“\[\]{}]')
# Strings that have arrived whole, and scalars.
_PLAIN_JSON = re.compile(r'(?:[^"“\[\]{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+', re.DOTALL)
_IN_STRING = {'"': re.compile(r'["\\]'), "”": re.compile(r'[”"\\]')}
_SCALAR_END = re.compile(r"[,\]}\s]")


class NotFoundHere(Exception):
    """Reports that the text at this position is not what was expected, or not complete."""


class TooLongToHold(NotFoundHere):
    """Reports that the text is longer than may be held back."""


class TextReader:
    """Holds the text, the position in it, and how far it may be read.

    text, at: the text without what was forgotten, and the position in it.
    ended: whether no more text will come. cut: whether it ended too early.
    limit: the position up to which text may be held back.
    credit: what may be spent on attempts; see `spend`.
    """

    def __init__(self) -> None:
        self.text = ""
        self.at = 0
        self.ended = False
        self.cut = False
        self.limit = MAX_HELD
        self.credit = MAX_CREDIT
        self._counted = 0  # the position up to which text has earned credit

    def begin(self) -> int:
        """Allow MAX_HELD characters to be held back from here; return the position."""
        self.credit = min(MAX_CREDIT, self.credit + self.at - self._counted)
        if self.at > len(self.text) // 2:  # rarely enough that forgetting takes linear time
            self.text, self.at = self.text[self.at :], 0
        self._counted = self.at
        self.limit = self.at + MAX_HELD
        return self.at

    def spend(self, work: int) -> None:
        """Count work, in units of about 0.15 microseconds. Raises NotFoundHere if it is too much.

        Each character of the answer earns one unit, and up to MAX_CREDIT units are saved up. So
        an answer that is made of beginnings of calls takes no longer than a certain time per
        character. When the credit is used up, text is only text until enough more has come. Work
        is counted for what was read, not for how it came.
        """
        self.credit -= work
        if self.credit + self.at < self._counted:
            raise NotFoundHere

    def charge(self, work: int) -> None:
        """Count work that is done already."""
        self.credit -= work

    @property
    def next_attempt(self) -> int:
        """Return the position from which on another attempt may be made."""
        return self._counted + max(0, ATTEMPT - self.credit)

    def backtrack(self, start: int) -> None:
        """Return to where a failed attempt began. Raises NotFoundHere if it was too much work."""
        self.rewind(start)
        self.spend(0)

    def rewind(self, start: int) -> None:
        """Return to an earlier position, and count what was read from there."""
        self.charge((self.at - start) // _FAST)
        self.at = start

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
            match = _WHITE_SPACE.match(self.text, self.at, self.limit)
            assert match is not None
            self.at = match.end()
        self.spend(4)

    def follows(self, word: str) -> Reading[bool]:
        """Return whether this word follows, in upper or lower case; `word` is in lower case."""
        end = self.at + len(word)
        if end <= len(self.text) and end <= self.limit:
            return self.text[self.at : end].lower() == word
        for ahead, wanted in enumerate(word):
            if (yield from self.peek(ahead)).lower() != wanted:
                return False
        return True

    def follows_exactly(self, word: str) -> Reading[bool]:
        """Return whether this word follows as it is written."""
        while len(self.text) - self.at < len(word):
            if not word.startswith(self.text[self.at :]):
                return False
            if not (yield from self.wait_for_text()):
                return False
        return self.text.startswith(word, self.at)

    def expect(self, word: str) -> Reading[None]:
        """Skip this word, given in lower case. Raises NotFoundHere when it does not follow."""
        self.spend(4)
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
        self.spend(4 * (self.at - start + 1))
        return self.text[start : self.at]

    def search(
        self, wanted: re.Pattern[str], width: int = 1, *, free: bool = False
    ) -> Reading[re.Match[str]]:
        """Find the next match and move behind it.

        width: the most characters that a match can have.
        free: whether the caller counts the work.
        Raises NotFoundHere when the text ends before.
        """
        start = self.at
        while True:
            end = min(len(self.text), self.limit)
            if match := wanted.search(self.text, start, end):
                read, self.at = match.end() - self.at, match.end()
                if not free:
                    self.spend(10 + read // _FAST)
                return match
            start = max(start, end - width + 1)
            if not (yield from self.wait_for_text()):
                self.at = end
                raise NotFoundHere

    def read_json(self) -> Reading[str]:
        """Read a JSON object or array and return its text.

        Only brackets and strings are checked. Raises NotFoundHere for anything else.
        """
        start, counted, open_brackets = self.at, self.at, 0
        while True:
            character = self.text[self.at] if open_brackets else (yield from self.peek())
            if character in _QUOTES and open_brackets:
                yield from self.read_string(free=True)
            elif character and character in "[{":
                open_brackets += 1
                self.at += 1
            elif character and character in "]}" and open_brackets:
                open_brackets -= 1
                self.at += 1
            else:
                raise NotFoundHere
            if self.text[self.at - 1] in _BRACKETS:
                self.spend(10 + (self.at - counted) // _FAST)  # once for each bracket
                counted = self.at
            if open_brackets > MAX_DEPTH:
                raise NotFoundHere
            if not open_brackets:
                return self.text[start : self.at]
            if skipped := _PLAIN_JSON.match(self.text, self.at, self.limit):
                self.at = skipped.end()
            yield from self.search(_IN_JSON, free=True)
            self.at -= 1

    def read_string(self, *, free: bool = False) -> Reading[str]:
        """Read a JSON string, in straight or full-width quotes, and return its text."""
        start = self.at
        close = _QUOTES.get((yield from self.peek()))
        if close is None:
            raise NotFoundHere
        self.at += 1
        while (yield from self.search(_IN_STRING[close], free=True))[0] == "\\":
            yield from self.peek()
            self.at += 1
        if not free:
            self.spend(10 + (self.at - start) // _FAST)
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
