"""Joins an answer that was cut off with the one that continues it. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.generation.pieces import Piece

_LONGEST = 200
_SHORTEST = 16  # shorter ones, and those of few different characters, may be chance
_FEWEST = 4


class SentCall:
    """Holds the part of a call that the client has, and leaves it out of the same call.

    name, arguments: the call's name, and the text of its arguments so far.

    complete: whether all of it has come again, so that what follows is new.
    """

    def __init__(self, name: str = "", arguments: str = "") -> None:
        self._name, self._arguments = name, arguments
        self.complete = not name

    def without_sent(self, piece: Piece) -> Piece | None:
        """Return what is new in a piece of a call; None if it contradicts what was sent."""
        kind, text = piece
        if self._name:
            if (kind, text) != ("call", self._name):
                return None
            self._name = ""
            self.complete = not self._arguments
            return kind, ""
        size = min(len(text), len(self._arguments))
        if kind != "arguments" or text[:size] != self._arguments[:size]:
            return None
        self._arguments = self._arguments[size:]
        self.complete = not self._arguments
        return kind, text[size:]


class OverlapRemover:
    """Removes from the beginning of a text what it repeats of the end of another one.

    before: the text that is continued.
    opening: how the block began within which that text ended.

    restarted: whether the text writes that block from its beginning, in place of a continuation.

    Models are asked to continue with the next character, but some repeat the last line. Only
    pieces of content are passed on, since the text before had its reasoning.
    """

    def __init__(self, before: str, opening: str) -> None:
        self._end = before[-_LONGEST:]
        self._opening = opening
        self.restarted = False
        self._held: str | None = ""  # the beginning, until it is long enough; then None

    def feed(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Return what can be passed on of these pieces."""
        text = "".join([text for kind, text in pieces if kind == "content"])
        if self._held is None:
            return [("content", text)] if text else []
        self._held += text
        if len(self._held) < _LONGEST and self._may_overlap(self._held):
            return []
        return self.flush()

    def flush(self) -> list[Piece]:
        """Return the beginning that was held back, without what it repeats."""
        held, self._held = self._held, None
        if not held:
            return []
        self.restarted = held.lstrip().startswith(self._opening)
        rest = held if self.restarted else held[self._overlap(held) :]
        return [("content", rest)] if rest else []

    def _may_overlap(self, text: str) -> bool:
        """Return whether the text and what follows it may repeat the end of the other one."""
        return (
            len(text.lstrip()) < max(_SHORTEST, len(self._opening)) or text[:_SHORTEST] in self._end
        )

    def _overlap(self, text: str) -> int:
        """Return how many characters at the beginning repeat the end of the other text."""
        for size in range(min(len(text), len(self._end)), _SHORTEST - 1, -1):
            if self._end.endswith(text[:size]) and len(set(text[:size])) >= _FEWEST:
                return size
        return 0
