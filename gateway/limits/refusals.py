"""Decides what a refusal says when several limits refuse, and what headers say."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gateway.limits.claims import Standing, Verdict
from gateway.limits.plans import Check, Plan
from gateway.limits.windows import Moment


class Refusal:
    """Chooses among the limits that refuse a request the one with the longest wait.

    So a caller does not wait for one limit to be refused by the next.
    """

    def __init__(self) -> None:
        self.may_queue = True
        self._check: Check | None = None
        self._wait = -1.0
        self._used = 0

    def add(
        self, check: Check, used: int, moment: Moment, *, needed: int = 1, least: int = 1
    ) -> None:
        """Add a limit that refuses.

        needed: what the request would use. least: what it would use at least.
        """
        fits = check.maximum >= max(1, least)
        self.may_queue = self.may_queue and fits and check.of_caller_concurrency
        if fits:
            needed = needed if needed <= check.maximum else least
            excess = used + max(1, needed) - check.maximum
            wait = max(0.001, check.counter.wait(moment, excess))
        else:
            wait = math.inf
        if wait > self._wait:
            self._check, self._wait, self._used = check, wait, used

    def verdict(self, moment: Moment, plan: Plan, tokens: int) -> Verdict:
        """Return the refusal. Some limit must have been added."""
        assert self._check is not None
        return Verdict(
            False,
            moment.calendar.day,
            tokens,
            self._check.scope.id,
            self._check.limit,
            self._check.maximum,
            self._used,
            0.0 if self._wait == math.inf else self._wait,
            self._wait != math.inf,
            self.may_queue,
            tightest_standing(plan.requests, moment),
            tightest_standing(plan.tokens, moment),
            budget_left(moment, plan),
        )


def budget_left(moment: Moment, plan: Plan) -> int | None:
    """Return the fewest tokens that are left of any budget."""
    left = [c.maximum - c.counter.used(moment) for c in plan.tokens if c.budget]
    return max(0, min(left)) if left else None


def tightest_standing(checks: Sequence[Check], moment: Moment) -> Standing | None:
    """Return the limit with the smallest remaining share; None if there is no limit."""
    if not checks:
        return None
    found, most = checks[0], -1.0
    for check in checks:
        used = check.counter.used(moment) / check.maximum if check.maximum else math.inf
        if used > most:
            found, most = check, used
    return found.standing(moment)
