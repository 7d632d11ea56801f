"""Removes the Markdown fence around an answer that should be JSON. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.generation.pieces import Piece

# The most characters of an opening or closing fence; no more is held back.
_MAX_FENCE = 256

_BLANK = " \t\r\n"
_STARTS = frozenset('{["-0123456789tfn')


class MarkdownFence:
    """Removes the fence while the answer arrives: takes pieces, returns them without it.

    The opening fence is three or more backticks, perhaps with the word `json`, before text that
    can begin JSON. The closing fence is at least as many backticks at the end of the answer.
    Only text that may be part of a fence is held back. If text follows the closing fence, that
    fence and the text are kept; the opening fence has been removed by then.
    The result does not depend on how the text is split.
    """

    def __init__(self) -> None:
        self._held = ""
        self._decided = False
        self._ticks = 0  # backticks of the opening fence; 0 if there is none

    def feed(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Return what can be sent now, of these pieces and of the text held back."""
        out: list[Piece] = []
        for piece in pieces:
            if piece[0] != "content":
                out.append(piece)
            elif text := self._feed_text(piece[1]):
                out.append(("content", text))
        return out

    def flush(self) -> list[Piece]:
        """Return the text that is still held back, at the end of the answer, without a fence."""
        held, self._held = self._held, ""
        if self._ticks and held.count("`") >= self._ticks:
            return []
        return [("content", held)] if held else []

    def _feed_text(self, text: str) -> str:
        if self._decided and not self._ticks:
            return text
        text = self._held + text
        self._held = ""
        if not self._decided:
            opening = _opening(text[:_MAX_FENCE])
            if opening is None and len(text) < _MAX_FENCE:
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
    """Return a whole answer without its fence; unchanged unless a fence surrounds all of it."""
    opening = _opening(text[:_MAX_FENCE])
    if not opening:
        return text
    start, ticks = opening
    end = _possible_end(text)
    if end >= start and text.count("`", end) >= ticks:
        return text[start:end]
    return text


def _opening(text: str) -> tuple[int, int] | tuple[()] | None:
    """Return where the JSON behind an opening fence begins, and the number of backticks.

    Returns () when there is no opening fence, None when that depends on text still to come.
    """
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
    """Return where the blanks, backticks and blanks at the end of a text start."""
    keep = max(0, len(text) - _MAX_FENCE)
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
