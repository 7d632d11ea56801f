"""Reports once per period that most of a budget is used, and once that all of it is."""

from __future__ import annotations

from typing import Final

import msgspec

from gateway.limits.windows import Moment, UsageGauge

_SOON: Final = 80  # percent
_SLIDING: Final = {"tokens_per_5h": 5 * 3600, "tokens_per_7d": 7 * 86_400}  # seconds


class BudgetReached(msgspec.Struct, frozen=True):
    """Reports that a share of a budget is used: `percent` is 80 or 100.

    scope: whose budget it is, such as `key alice`. resets: seconds until nothing is used.
    """

    scope: str
    limit: str
    percent: int
    used: int
    maximum: int
    resets: float


class BudgetAlarm:
    """Remembers what was reported of one budget of one scope.

    A budget of a day or month is reported anew in the next one. One of 5 hours or 7 days is
    reported anew so much later, and not each time that old use leaves it.
    """

    __slots__ = ("_gauge", "_percent", "_period", "_until", "limit", "maximum", "scope")

    def __init__(self, scope: str, limit: str, maximum: int, gauge: UsageGauge) -> None:
        self.scope, self.limit, self.maximum = scope, limit, maximum
        self._gauge = gauge
        self._percent = 0
        self._period = ""
        self._until = 0.0

    def due(self, moment: Moment) -> BudgetReached | None:
        """Return what must be reported now; a second call returns None.

        If both shares are reached at once, only the larger one is reported.
        """
        used = self._gauge.used(moment)
        if used * 100 < self.maximum * _SOON:
            return None
        percent = 100 if used >= self.maximum else _SOON
        if self._is_over(moment):
            self._percent = 0
            self._period = _period_of(self.limit, moment)
            self._until = moment.monotonic + _SLIDING.get(self.limit, 0)
        if percent <= self._percent:
            return None
        self._percent = percent
        resets = max(0.0, self._gauge.resets(moment))
        return BudgetReached(self.scope, self.limit, percent, used, self.maximum, resets)

    def _is_over(self, moment: Moment) -> bool:
        """Return whether what was reported was about an earlier period."""
        if self.limit in _SLIDING:
            return moment.monotonic >= self._until
        return self._period != _period_of(self.limit, moment)


def _period_of(limit: str, moment: Moment) -> str:
    return moment.calendar.month if limit.endswith("_month") else moment.calendar.day
