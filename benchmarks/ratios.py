"""Calculates the ratios of a load's pairs: median, interval, verdict."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.9
WIDEST = 0.06
WORSE = 1.05  # a lower end from here on means worse than 5 %
FEWEST = 5  # pairs that have an interval at all

NOT_WORSE, IS_WORSE, TOO_WIDE = "not worse than 5 %", "worse", "interval too wide"


def interval(ratios: Sequence[float]) -> tuple[float, float]:
    """Return the 90 % interval of the median, by order statistics.

    The k-th smallest and the k-th largest ratio enclose the median with a certain probability. The
    binomial distribution gives it, whatever the distribution of the ratios is. `k` is the largest
    that keeps 90 %, so the interval never covers less.
    """
    count = len(ratios)
    if count < FEWEST:
        raise ValueError(f"an interval needs {FEWEST} ratios, not {count}")
    outside, rank = 0.0, 0
    while True:
        outside += 2 * math.comb(count, rank) / 2**count
        if outside > 1 - CONFIDENCE:
            break
        rank += 1
    ordered = sorted(ratios)
    return ordered[rank - 1], ordered[count - rank]


@dataclass(frozen=True, slots=True)
class Ratio:
    """Holds the processor time per unit of side A, as a multiple of side B's."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, ratios: Sequence[float]) -> Ratio:
        return cls(statistics.median(ratios), *interval(ratios))

    @property
    def too_wide(self) -> bool:
        """Return whether more pairs are needed."""
        return self.high - self.low > WIDEST

    @property
    def verdict(self) -> str:
        """Say what the interval allows to say."""
        if self.low >= WORSE:
            return IS_WORSE
        return TOO_WIDE if self.too_wide else NOT_WORSE


def enough(ratios: Sequence[float], fewest: int, most: int) -> bool:
    """Say whether to stop: the pairs are enough and the interval narrow, or they are many."""
    if len(ratios) < max(fewest, FEWEST):
        return False
    return len(ratios) >= most or not Ratio.of(ratios).too_wide


def exit_status(verdicts: Sequence[str]) -> int:
    """Return 1 when a load is worse, 3 when one could not be decided, else 0."""
    if IS_WORSE in verdicts:
        return 1
    return 3 if TOO_WIDE in verdicts else 0
