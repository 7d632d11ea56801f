"""Ends answers at stop strings, markers and a token limit, which the upstream cannot do."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence

from gateway.generation import token_estimate
from gateway.generation.pieces import FinishReason, Piece, merge
from gateway.generation.turn_end import TurnEndFinder

_END_AND_START = operator.itemgetter(0, 1)
_MOST_UNREAD = 8192  # bytes of text that the finder of turn ends has not read


class StopSequenceFilter:
    """Passes pieces on, up to a stop string, a turn that the model made up, or the token limit.

    stop: strings that the client sent; matched exactly.
    markers, opening: strings between turns in the upstream's notation; see `TurnEndFinder`.
    begun: the text that the answer continues.
    max_tokens: limit of content and reasoning together, as `token_estimate` counts.

    The answer ends at the first place at which one of these is certain, as in a model that
    searches after each token. So the result does not depend on how the text is split into
    pieces. Only text that may belong to a stop string or a marker is held back. After
    `finish_reason` is set, no more pieces are returned.

    stop_sequence: the stop string that ended the answer; None for a marker or the limit.
    bytes_left: the bytes that `max_tokens` still allows; None without a limit.
    held: the text that is held back.
    """

    def __init__(
        self,
        *,
        stop: Sequence[str] = (),
        markers: Sequence[str] = (),
        opening: str = "",
        begun: str = "",
        max_tokens: int | None = None,
    ) -> None:
        self._stop = tuple(stop)
        self._markers = tuple(markers)
        self._opening = opening
        self._begun = begun
        self._turn_ends: TurnEndFinder | None = None  # made when it is needed, for few answers
        self._unread = ""  # text passed on that the finder has not read
        self._read_at = _MOST_UNREAD  # at so many bytes of content, it reads
        self._unbounded = not stop and max_tokens is None
        self.bytes_left = (
            None if max_tokens is None else max_tokens * token_estimate.BYTES_PER_TOKEN
        )
        self.held = ""
        self._matched = False
        self.finish_reason: FinishReason | None = None
        self.stop_sequence: str | None = None
        self.content_bytes = 0
        self.reasoning_bytes = 0

    @property
    def natural_reason(self) -> FinishReason:
        """Return the finish reason of an answer that was not cut."""
        return "stop"

    @property
    def holds_text(self) -> bool:
        """Return whether text is held back that the end of a whole answer would release."""
        return bool(self.held and self._strip_turn_end(self.held).strip())

    def feed(self, pieces: list[Piece]) -> list[Piece]:
        """Take pieces of the answer and return those that may be sent now."""
        if self._unbounded and not self.held and not self.finish_reason:
            # Only markers could end the answer: one search of the joined text is enough.
            text = "".join([text for _, text in pieces])
            if "<" not in text or not self._markers:
                self._count(pieces, text)
                return pieces
        out: list[Piece] = []
        for piece in merge(pieces):
            if self.finish_reason:
                break
            if piece[0] == "content":
                text = piece[1]
                if self._stop or self.held or ("<" in text and self._markers):
                    text = self._scan(self.held + text)
                if text:
                    self._emit(("content", text), out)
                if self._matched:
                    self._end_at_match()
            else:
                self._emit(piece, out)
        return out

    def flush(self, *, whole: bool = True) -> list[Piece]:
        """Return the text still held back, when the answer is over.

        whole: whether nothing is missing. Then a marker at the end is no part of the answer.
            Otherwise it is text, since nobody knows what would have followed.
        """
        return self._release(self._strip_turn_end if whole else str)

    def interrupt(self) -> list[Piece]:
        """Return the text still held back, when something comes that is not text: a call.

        What comes may belong to a turn that the model made up; then `finish_reason` is set.
        Text behind it begins a line.
        """
        out = self._release(self._cut_turn_end)
        if self._markers:
            self._read_turn_ends().start_line()
        return out

    def ignore_markers(self) -> list[Piece]:
        """Take markers for text from here on, where more text follows.

        Return text only if a marker that is held back ends the answer, as that text follows.
        """
        text = self._cut_turn_end(self.held)
        out = self._release(lambda _: text) if self._matched else []
        self._markers = ()
        self._unread = ""
        return out

    def _release(self, cut: Callable[[str], str]) -> list[Piece]:
        out: list[Piece] = []
        if self.held and not self.finish_reason:
            text, self.held = cut(self.held), ""
            if text:
                self._emit(("content", text), out)
            if self._matched:
                self._end_at_match()
        return out

    def _strip_turn_end(self, text: str) -> str:
        return self._read_turn_ends().strip_end(text) if self._markers else text

    def _cut_turn_end(self, text: str) -> str:
        turn_end = self._find_turn_end(text + "-")  # the `-` stands for what comes
        if turn_end is None or turn_end[1] is None:
            return text
        self._matched = True
        return text[: turn_end[0]]

    @property
    def completion_tokens(self) -> int:
        """Return how many tokens were passed on, counted as for `max_tokens`."""
        return token_estimate.estimate(self.content_bytes + self.reasoning_bytes)

    def _scan(self, text: str) -> str:
        """Return the text before an end or a possible beginning of one; hold back the rest."""
        # (end, start, stop string) of what is certain first
        first: tuple[int, int, str] | None = None
        for needle in self._stop:
            start = text.find(needle)
            if start >= 0:
                match = (start + len(needle), start, needle)
                first = match if first is None else min(first, match, key=_END_AND_START)
        turn_end = self._find_turn_end(text)
        if turn_end is not None and turn_end[1] is not None:
            match = (turn_end[1], turn_end[0], "")
            first = match if first is None else min(first, match, key=_END_AND_START)
        if first is not None:
            _, start, needle = first
            self.held = ""
            self._matched = True
            self.stop_sequence = needle or None
            return text[:start]
        keep = len(text) if turn_end is None else turn_end[0]
        for needle in self._stop:
            keep = min(keep, _possible_start(text, needle, len(text)))
        self.held = text[keep:]
        return text[:keep]

    def _find_turn_end(self, text: str) -> tuple[int, int | None] | None:
        """Return where a turn that the model made up begins; see `TurnEndFinder.find`."""
        if not self._markers or not ("<|" in text or text[-1:] == "<"):
            return None
        return self._read_turn_ends().find(text)

    def _read_turn_ends(self) -> TurnEndFinder:
        """Return the finder after it has read all text that was passed on."""
        if self._turn_ends is None:
            self._turn_ends = TurnEndFinder(self._markers, self._opening, self._begun)
        if self._unread:
            self._turn_ends.advance(self._unread)
            self._unread = ""
        self._read_at = self.content_bytes + _MOST_UNREAD
        return self._turn_ends

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
            text = "".join([text for kind, text in pieces if kind == "content"])
        self.content_bytes += count
        # As in `_note_text`, but without a call, since nearly all pieces pass here.
        if self._markers:
            unread, self._unread = self._unread, ""
            unread += text
            self._unread = unread
            if self.content_bytes > self._read_at:
                self._read_turn_ends()

    def _note_text(self, text: str) -> None:
        """Keep text that was passed on for the finder of turn ends, up to a limit."""
        if self._markers:
            unread, self._unread = self._unread, ""
            unread += text  # in place, since nothing else refers to the string now
            self._unread = unread
            if self.content_bytes > self._read_at:
                self._read_turn_ends()

    def _emit(self, piece: Piece, out: list[Piece]) -> None:
        kind, text = piece
        count = token_estimate.size(text)
        if self.bytes_left is not None:
            if count > self.bytes_left:
                text = token_estimate.prefix(text, self.bytes_left)
                count = token_estimate.size(text)
                self.finish_reason = "length"
                piece = (kind, text)
            self.bytes_left -= count
        if kind != "content":
            self.reasoning_bytes += count
        else:
            self.content_bytes += count
            self._note_text(text)
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
