"""Holds the counters of one scope, and what of them a request of each class uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.limits.alarms import BudgetAlarm
from gateway.limits.claims import Scope, Seed
from gateway.limits.names import BUDGET_NAMES, LIMIT_NAMES, NAMES_OF_KIND, TOKEN_NAMES, Kind
from gateway.limits.plans import Check, Plan
from gateway.limits.windows import (
    Moment,
    OpenCounter,
    PeriodCounter,
    RequestWindow,
    TokenWindow,
    UsageGauge,
)

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


class ScopeCounters:
    """Holds the counters of a scope.

    Budgets are counted also without a limit, so that a limit which a reload brings is right at
    once. Of an address only what has a limit is counted.

    limits: those that the plans are made for; `adopt` changes them.
    plans: by the class of the request.
    open: counts the admitted requests that have not been settled.
    """

    __slots__ = ("_alarms", "_budgets_always", "_counters", "limits", "open", "plans")

    def __init__(self, scope: Scope) -> None:
        self._budgets_always = not is_address(scope.id)
        self.open = OpenCounter()
        self._counters: dict[str, RequestWindow | TokenWindow | PeriodCounter] = {}
        self._alarms: dict[str, BudgetAlarm] = {}
        self.plans: dict[Kind, Plan] = {}
        self.limits: Mapping[str, int] = {}
        self._prepare(scope)

    def adopt(self, scope: Scope) -> None:
        """Use the limits that the scope has now."""
        if scope.limits != self.limits:
            self._prepare(scope)
        self.limits = scope.limits

    def checks(self, scope: Scope) -> list[Check]:
        """Return all limits of the scope."""
        self.adopt(scope)
        return self._checks(scope)

    def seed(self, seed: Seed, moment: Moment) -> None:
        """Add what was used before the start."""
        periods = (
            ("requests_per_day", seed.day, seed.day_requests),
            ("tokens_per_day", seed.day, seed.day_tokens),
            ("requests_per_month", seed.month, seed.month_requests),
            ("tokens_per_month", seed.month, seed.month_tokens),
        )
        for name, period, amount in periods:
            counter = self._counters.get(name)
            if isinstance(counter, PeriodCounter):
                counter.seed(moment, period, amount)
        for name, amounts in (
            ("tokens_per_5h", seed.five_hours),
            ("tokens_per_7d", seed.seven_days),
        ):
            counter = self._counters.get(name)
            if isinstance(counter, TokenWindow):
                counter.seed(moment, amounts)

    def _prepare(self, scope: Scope) -> None:
        """Make the counters and plans for these limits; counters that stay keep their counts."""
        self.limits = limits = scope.limits
        always = BUDGET_NAMES if self._budgets_always else ()
        self._counters = {
            name: self._counters.get(name) or _new_counter(name)
            for name in LIMIT_NAMES
            if (name in limits or name in always) and name != "concurrency"
        }
        checks = {check.limit: check for check in self._checks(scope)}
        self._alarms = {c.limit: self._alarm(c) for c in checks.values() if c.budget and c.maximum}
        for kind, names in NAMES_OF_KIND.items():
            self.plans[kind] = self._plan(names, checks)

    def _plan(self, names: Sequence[str], checks: Mapping[str, Check]) -> Plan:
        counters = [(name, self._counters[name]) for name in names if name in self._counters]
        budgets = [
            (name, counter)
            for name, counter in counters
            if name in BUDGET_NAMES and not isinstance(counter, RequestWindow)
        ]
        limited = [checks[name] for name in names if name in checks]
        rates = [check for check in limited if check.limit != "concurrency"]
        return Plan(
            requests=tuple(check for check in rates if check.limit not in TOKEN_NAMES),
            tokens=tuple(check for check in rates if check.limit in TOKEN_NAMES),
            open=tuple(check for check in limited if check.limit == "concurrency"),
            windows=tuple(c for _, c in counters if isinstance(c, RequestWindow)),
            token_windows=tuple(
                counter
                for name, counter in counters
                if name not in BUDGET_NAMES and isinstance(counter, TokenWindow)
            ),
            request_budgets=tuple(c for name, c in budgets if name not in TOKEN_NAMES),
            token_budgets=tuple(c for name, c in budgets if name in TOKEN_NAMES),
            alarms=tuple(self._alarms[name] for name in names if name in self._alarms),
            opens=(self.open,) if "concurrency" in names else (),
        )

    def _checks(self, scope: Scope) -> list[Check]:
        gauges: dict[str, UsageGauge] = {**self._counters, "concurrency": self.open}
        return [
            Check(scope, name, scope.limits[name], gauges[name], name in BUDGET_NAMES)
            for name in LIMIT_NAMES
            if name in scope.limits
        ]

    def _alarm(self, check: Check) -> BudgetAlarm:
        """Return the alarm of a budget: the one that it has, unless its maximum changed."""
        known = self._alarms.get(check.limit)
        if known is not None and known.maximum == check.maximum:
            return known
        return BudgetAlarm(check.scope.id, check.limit, check.maximum, check.counter)


def is_address(scope_id: str) -> bool:
    """Return whether a scope is that of an address, of which there may be any number."""
    return scope_id[:8] == "address "


def _new_counter(name: str) -> RequestWindow | TokenWindow | PeriodCounter:
    match name:
        case "tokens_per_minute":
            return TokenWindow(_MINUTE, 1, by_wall=False)
        case "tokens_per_5h":
            return TokenWindow(5 * _HOUR, 300, by_wall=True)
        case "tokens_per_7d":
            return TokenWindow(7 * _DAY, _HOUR, by_wall=True)
        case "requests_per_day" | "tokens_per_day":
            return PeriodCounter("day")
        case "requests_per_month" | "tokens_per_month":
            return PeriodCounter("month")
    return RequestWindow(_MINUTE)
