"""Ends answers at stop strings, markers and a token limit, which the upstream cannot do."""

from __future__ import annotations

import string
from collections.abc import Sequence

from gateway.generation import token_estimate
from gateway.generation.pieces import FinishReason, Piece

_ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


class StopSequenceFilter:
    """Passes pieces on, up to the first stop string, the first marker or the token limit.

    stop: strings that the client sent; matched exactly.
    markers: strings of the upstream's own notation, in lower case, each beginning with
        `<`; matched in any case.
    max_tokens: limit of content and reasoning together, as `token_estimate` counts.

    The answer ends at the string that is complete first, as in a model that searches after
    each token. So the result does not depend on how the text is split into pieces. Only
    text that may be the beginning of such a string is held back. After `finish_reason` is
    set, no more pieces are returned.

    stop_sequence: the stop string that ended the answer; None for a marker or the limit.
    """

    def __init__(
        self,
        *,
        stop: Sequence[str] = (),
        markers: Sequence[str] = (),
        max_tokens: int | None = None,
    ) -> None:
        self._stop = tuple(stop)
        self._markers = tuple(markers)
        self._unbounded = not stop and max_tokens is None
        self._bytes_left = (
            None if max_tokens is None else max_tokens * token_estimate.BYTES_PER_TOKEN
        )
        self._held = ""
        self._matched = False
        self.finish_reason: FinishReason | None = None
        self.stop_sequence: str | None = None
        self.content_bytes = 0
        self.reasoning_bytes = 0

    @property
    def natural_reason(self) -> FinishReason:
        """Return the finish reason of an answer that was not cut."""
        return "stop"

    def feed(self, pieces: list[Piece]) -> list[Piece]:
        """Take pieces of the answer and return those that may be sent now."""
        if self._unbounded and not self._held and not self.finish_reason:
            # Only markers could end the answer: one search of the joined text is enough.
            text = "".join([text for _, text in pieces])
            if "<" not in text:
                self._count(pieces, text)
                return pieces
        out: list[Piece] = []
        for piece in pieces:
            if self.finish_reason:
                break
            if piece[0] == "content":
                text = piece[1]
                if self._stop or self._held or "<" in text:
                    text = self._scan(self._held + text)
                if text:
                    self._emit(("content", text), out)
                if self._matched:
                    self._end_at_match()
            else:
                self._emit(piece, out)
        return out

    def flush(self) -> list[Piece]:
        """Return the text still held back, when the answer is over."""
        out: list[Piece] = []
        if self._held and not self.finish_reason:
            held, self._held = self._held, ""
            self._emit(("content", held), out)
        return out

    @property
    def completion_tokens(self) -> int:
        """Return how many tokens were passed on, counted as for `max_tokens`."""
        return token_estimate.estimate(self.content_bytes + self.reasoning_bytes)

    def _scan(self, text: str) -> str:
        """Return the text before a match or a possible beginning of one; hold back the rest."""
        searches = [(text, needle) for needle in self._stop]
        if "<" in text:
            folded = text.translate(_ASCII_LOWER)
            searches += [(folded, marker) for marker in self._markers]
        # (end, start, index) of the match completed first
        first: tuple[int, int, int] | None = None
        for index, (haystack, needle) in enumerate(searches):
            start = haystack.find(needle)
            if start >= 0:
                match = (start + len(needle), start, index)
                first = match if first is None else min(first, match)
        if first is not None:
            _, start, index = first
            self._held = ""
            self._matched = True
            self.stop_sequence = self._stop[index] if index < len(self._stop) else None
            return text[:start]
        keep = len(text)
        for haystack, needle in searches:
            keep = min(keep, _possible_start(haystack, needle, len(text)))
        self._held = text[keep:]
        return text[:keep]

    def _end_at_match(self) -> None:
        if self.finish_reason:
            self.stop_sequence = None  # the limit came first
        else:
            self.finish_reason = "stop"

    def _count(self, pieces: list[Piece], text: str) -> None:
        count = token_estimate.size(text)
        reasoning = [text for kind, text in pieces if kind == "reasoning"]
        if reasoning:
            reasoning_count = token_estimate.size("".join(reasoning))
            self.reasoning_bytes += reasoning_count
            count -= reasoning_count
        self.content_bytes += count

    def _emit(self, piece: Piece, out: list[Piece]) -> None:
        kind, text = piece
        count = token_estimate.size(text)
        if self._bytes_left is not None:
            if count > self._bytes_left:
                text = token_estimate.prefix(text, self._bytes_left)
                count = token_estimate.size(text)
                self.finish_reason = "length"
                piece = (kind, text)
            self._bytes_left -= count
        if kind == "content":
            self.content_bytes += count
        else:
            self.reasoning_bytes += count
        if text:
            out.append(piece)


def _possible_start(text: str, needle: str, otherwise: int) -> int:
    """Return where the longest end of the text starts that is a beginning of the needle."""
    start = text.find(needle[0], max(0, len(text) - len(needle) + 1))
    while start >= 0:
        if needle.startswith(text[start:]):
            return start
        start = text.find(needle[0], start + 1)
    return otherwise
