"""Answers that go on beyond all measure: too long, or the same again and again (trap 31)."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.errors import GatewayError, UpstreamError
from gateway.generation.pieces import Piece

_SPACING = 16 * 1024  # bytes from one sample to the next
_SAMPLE = 1000  # characters
_WINDOW = 10  # characters
_SHARE = 0.8  # of a sample's windows (protocol 7, the rule of the service's own clients)
_SAMPLES = 4  # in a row, of one and the same loop: long lists and tables repeat themselves too


class RunawayDetector:
    """Looks at an answer now and then, so that a piece costs no more than a subtraction.

    max_bytes: the longest answer, as bytes from the upstream. repetition: whether loops are
    looked for. room: how many bytes may come before the next call of `look`.
    """

    def __init__(self, max_bytes: int, *, repetition: bool) -> None:
        self._left = max_bytes
        self._repetition = repetition
        self._sample = ""
        self._loop: set[str] = set()
        self._hits = 0
        self._spacing = _SPACING if repetition else max_bytes
        self.room = min(max_bytes, self._spacing)

    def look(self, room: int, pieces: Sequence[Piece]) -> GatewayError | None:
        """What is wrong with the answer, if anything; sets `room` anew.

        room: what is left of `room`, below zero when more came. pieces: those that came last.
        """
        self._left -= self.room - room
        if self._left < 0:
            return _error("is longer than fitten.max_answer_bytes allows", "upstream_too_long")
        self.room = min(self._left, self._spacing)
        if self._repetition:
            self._sample += "".join([text for _, text in pieces])
            if len(self._sample) < _SAMPLE:
                self.room = 0  # the next piece belongs to this sample
            elif self._loops():
                return _error("repeats itself without end", "upstream_repetition")
        return None

    def _loops(self) -> bool:
        text, self._sample = self._sample[-_SAMPLE:], ""
        count = _SAMPLE - _WINDOW + 1
        windows = [text[i : i + _WINDOW] for i in range(count)]
        loop = set(windows)
        if len(loop) > (1 - _SHARE) * count:
            self._loop, self._hits = set(), 0
            return False
        if self._hits and sum(w in self._loop for w in windows) < _SHARE * count:
            self._hits = 0
        self._loop = loop
        self._hits += 1
        return self._hits >= _SAMPLES


def _error(what: str, code: str) -> UpstreamError:
    return UpstreamError(f"Fitten's answer {what}.", code=code, retryable=False)
