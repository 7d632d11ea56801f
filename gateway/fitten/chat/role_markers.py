"""Escapes role markers in texts of clients, and restores them in the answer. No I/O.

Markers such as `<|user|>` open and close the turns of a prompt (protocol 4.3), so texts of clients
must not have them. Blanks are put around the word: `<| user |>`. A model copies what it reads. So
an agent would get changed text when it edits a chat template. Therefore a marker in the answer
loses the blanks again. A text that has blanks already gets one more on each side, and loses it
again. So both forms come out as the client wrote them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from gateway.generation.pieces import Kind, Piece, merge

MAX_BLANKS = 1000
"""The most blanks on each side of the word; with more, the text is no marker and stays."""

# Without the characters that JSON escapes, so that a marker in JSON looks as it does in text.
_WORD = r'[^\s<>|"\\\x00-\x1f]{1,64}+'
_MARKER = re.compile(rf"<\|( {{0,{MAX_BLANKS}}}+)({_WORD})\1\|>")
_ESCAPED = re.compile(rf"<\|( {{1,{MAX_BLANKS + 1}}}+)({_WORD})\1\|>")
_BLANKS = f" {{1,{MAX_BLANKS + 1}}}+"
_BEGINNING = re.compile(rf"<(?:\|(?:{_BLANKS}(?:{_WORD}(?:{_BLANKS})?\|?)?)?)?\Z")
_TEXTS = ("content", "reasoning", "arguments")


def escape_role_markers(text: str, levels: set[int]) -> str:
    """Return the text with one blank more on each side of the word of each marker.

    levels: gets how many blanks the markers had on each side, for `RoleMarkerRestorer`.

    The official extension writes `<| word |>` too. People and models can still read the text.
    """
    # A search for one character is far faster than for two, and most texts have neither.
    if "|" not in text or "<|" not in text:
        return text
    # Of a text full of markers, this takes a quarter of the time of a substitution.
    parts = _MARKER.split(text)
    blanks, words = parts[1::3], parts[2::3]
    levels.update(map(len, blanks))
    parts[1::3] = [f"<| {blank}" for blank in blanks]
    parts[2::3] = [f"{word}{blank} |>" for word, blank in zip(words, blanks, strict=True)]
    return "".join(parts)


class RoleMarkerRestorer:
    """Restores the markers in one answer; the result does not depend on how it is split.

    levels: how many blanks the markers of the client had on each side. Others are text that the
        model made up, and stay: `a <| b |> c` is changed only if the prompt had a `<|word|>`.

    Only text that may be the beginning of a marker is held back: at most twice MAX_BLANKS
    characters and a few more. Texts of different kinds keep their order.
    """

    def __init__(self, levels: Collection[int]) -> None:
        self._levels = frozenset(levels)
        self._held = ""
        self._kind: Kind = "content"

    def feed(self, pieces: Sequence[Piece], *, last: bool = False) -> list[Piece]:
        """Return what can be passed on now, of these pieces and of the text held back.

        last: whether no more pieces will come, so that nothing is held back.
        """
        out: list[Piece] = []
        for kind, text in merge(pieces):
            if self._held and kind != self._kind:
                self._release(out)
            if kind in _TEXTS:
                text = self._held + text
                text, self._held, self._kind = *self._restore(text), kind
            if text:
                out.append((kind, text))
        if last:
            self._release(out)
        return out

    def _restore(self, text: str) -> tuple[str, str]:
        """Return the text with its markers restored, and its end if that may begin a marker."""
        start = text.rfind("<")
        if start < 0:
            return text, ""
        if _BEGINNING.match(text, start) is None:
            start = len(text)
        return _ESCAPED.sub(self._restored, text[:start]), text[start:]

    def _restored(self, match: re.Match[str]) -> str:
        blanks = match[1][1:]
        return f"<|{blanks}{match[2]}{blanks}|>" if len(blanks) in self._levels else match[0]

    def _release(self, out: list[Piece]) -> None:
        if self._held:
            out.append((self._kind, self._held))
            self._held = ""
