"""Takes the Markdown fence off an answer that was to be JSON. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.generation.pieces import Piece

# How much can be an opening, or an end: the rest of an answer is never held back.
_LONGEST = 256

_BLANK = " \t\r\n"
_STARTS = frozenset('{["-0123456789tfn')


class MarkdownFence:
    """Pieces of an answer in, the same without the fence around it out.

    An opening is three or more backticks, perhaps with the word `json`, before what can
    be the beginning of JSON; an end is as many backticks, and nothing after them. Only
    text that may be part of either is held back. Since the opening is gone by then, an
    answer that goes on after the end of its fence keeps that end and what follows it.
    However the text is split, the result is the same.
    """

    def __init__(self) -> None:
        self._held = ""
        self._decided = False
        self._ticks = 0  # of the opening; none when there was none

    def feed(self, pieces: Sequence[Piece]) -> list[Piece]:
        """What of these pieces may go out now."""
        out: list[Piece] = []
        for piece in pieces:
            if piece[0] != "content":
                out.append(piece)
            elif text := self._take(piece[1]):
                out.append(("content", text))
        return out

    def flush(self) -> list[Piece]:
        """What is left to go out at the end."""
        held, self._held = self._held, ""
        if self._ticks and held.count("`") >= self._ticks:
            return []
        return [("content", held)] if held else []

    def _take(self, text: str) -> str:
        if self._decided and not self._ticks:
            return text
        text = self._held + text
        self._held = ""
        if not self._decided:
            opening = _opening(text[:_LONGEST])
            if opening is None and len(text) < _LONGEST:
                self._held = text
                return ""
            self._decided = True
            if not opening:
                return text
            start, self._ticks = opening
            text = text[start:]
        keep = _possible_end(text)
        self._held = text[keep:]
        return text[:keep]


def strip_fence(text: str) -> str:
    """A whole answer without the fence, if one surrounds all of it; else as it is."""
    opening = _opening(text[:_LONGEST])
    if not opening:
        return text
    start, ticks = opening
    end = _possible_end(text)
    if end >= start and text.count("`", end) >= ticks:
        return text[start:end]
    return text


def _opening(text: str) -> tuple[int, int] | tuple[()] | None:
    """Where JSON begins after an opening, and its backticks; empty when there is none;
    None when more text could still make it one."""
    start = _skip(text, 0, _BLANK)
    ticks_end = _skip(text, start, "`")
    ticks = ticks_end - start
    if ticks_end < len(text) and ticks < 3:
        return ()
    word_start = _skip(text, ticks_end, " \t")
    word_end = word_start
    while word_end < len(text) and text[word_end].isalnum():
        word_end += 1
    word = text[word_start:word_end].lower()
    if not (word.startswith("json") or "json".startswith(word)):
        return ()
    body = _skip(text, word_end, _BLANK)
    if body == len(text):
        return None
    if word not in ("", "json") and not word.startswith("json"):
        return ()
    line_ended = "\n" in text[word_end:body]
    if text[body] in "{[" or (line_ended and text[body] in _STARTS):
        return body, ticks
    return ()


def _possible_end(text: str) -> int:
    """Where the blanks, backticks and blanks that a text ends with start."""
    keep = max(0, len(text) - _LONGEST)
    if text and text[-1] not in "` \t\r\n":
        return len(text)
    end = len(text[keep:].rstrip(_BLANK))
    end = len(text[keep : keep + end].rstrip("`"))
    end = len(text[keep : keep + end].rstrip(_BLANK))
    return keep + end


def _skip(text: str, index: int, characters: str) -> int:
    while index < len(text) and text[index] in characters:
        index += 1
    return index
