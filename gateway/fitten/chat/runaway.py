"""Detects answers that do not end: too long, or repeating themselves (trap 31)."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.errors import GatewayError, UpstreamError
from gateway.generation.pieces import Piece

# A sample repeats itself when at most 20 % of its windows, which overlap, are distinct (protocol
# 7: the rule of Fitten's own clients). Long lists and tables do that too. So several samples in
# a row must do it, each with at least 80 % of its windows found in the sample before.
_SPACING = 16 * 1024  # bytes from one sample to the next
_SAMPLE = 1000  # characters
_WINDOW = 10  # characters
_SHARE = 0.8
_SAMPLES = 4  # in a row


class RunawayDetector:
    """Checks samples of an answer, so that most pieces cost only a subtraction.

    max_bytes: the longest answer allowed, in bytes from Fitten.
    repetition: whether to detect repetition.
    bytes_to_check: how many bytes may come before the next call of `check`.
    """

    def __init__(self, max_bytes: int, *, repetition: bool) -> None:
        self._left = max_bytes
        self._repetition = repetition
        self._sample = ""
        self._repeated: set[str] = set()
        self._hits = 0
        self._spacing = _SPACING if repetition else max_bytes
        self.bytes_to_check = min(max_bytes, self._spacing)

    def check(self, rest: int, pieces: Sequence[Piece]) -> GatewayError | None:
        """Return what is wrong with the answer, if anything; set `bytes_to_check` again.

        rest: what is left of `bytes_to_check`; negative when more bytes came.
        pieces: the pieces that came last.
        """
        self._left -= self.bytes_to_check - rest
        if self._left < 0:
            return _error("is longer than fitten.max_answer_bytes allows", "upstream_too_long")
        self.bytes_to_check = min(self._left, self._spacing)
        if self._repetition:
            self._sample += "".join([text for _, text in pieces])
            if len(self._sample) < _SAMPLE:
                self.bytes_to_check = 0  # the next piece is part of this sample
            elif self._repeats():
                return _error("repeats itself without end", "upstream_repetition")
        return None

    def _repeats(self) -> bool:
        """Return whether the last samples, up to this one, show the same repetition."""
        text, self._sample = self._sample[-_SAMPLE:], ""
        count = _SAMPLE - _WINDOW + 1
        windows = [text[i : i + _WINDOW] for i in range(count)]
        distinct = set(windows)
        if len(distinct) > (1 - _SHARE) * count:
            self._repeated, self._hits = set(), 0
            return False
        if self._hits and sum(w in self._repeated for w in windows) < _SHARE * count:
            self._hits = 0
        self._repeated = distinct
        self._hits += 1
        return self._hits >= _SAMPLES


def _error(what: str, code: str) -> UpstreamError:
    return UpstreamError(f"Fitten's answer {what}.", code=code, retryable=False)
