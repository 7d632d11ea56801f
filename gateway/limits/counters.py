"""Holds the counters of one scope, and what of them a request of each class uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from gateway.limits.alarms import BudgetAlarm
from gateway.limits.claims import Scope, Seed, Standing
from gateway.limits.names import BUDGET_NAMES, LIMIT_NAMES, NAMES_OF_KIND, TOKEN_NAMES, Kind
from gateway.limits.windows import (
    Charge,
    Moment,
    OpenCounter,
    PeriodCounter,
    RequestWindow,
    TokenWindow,
    UsageCounter,
    UsageGauge,
)

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


@dataclass(frozen=True, slots=True)
class Check:
    """Describes one limit of a scope, and the counter that it is compared with.

    budget: whether it lasts for hours or longer.
    """

    scope: Scope
    limit: str
    maximum: int
    counter: UsageGauge
    budget: bool = False

    @property
    def of_caller_concurrency(self) -> bool:
        """Return whether this is the caller's own limit of open requests."""
        return self.limit == "concurrency" and self.scope.is_caller

    def standing(self, moment: Moment, used: int | None = None) -> Standing:
        """Return how much of the limit is used at this moment. used: if it is known."""
        if used is None:
            used = self.counter.used(moment)
        left = self.maximum - used
        resets = self.counter.resets(moment)
        return Standing(
            self.scope.id,
            self.limit,
            self.maximum,
            used,
            left if left > 0 else 0,
            resets if resets > 0 else 0.0,
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """Lists what a request of one class has to do with the counters of a scope.

    requests, tokens, open: the limits that are checked.
    counted_requests, counted_tokens: the counters per minute that are charged.
    alarms: those of the budgets.
    generates: whether budgets are charged too, and it counts as open until it is settled.
    """

    requests: tuple[Check, ...]
    tokens: tuple[Check, ...]
    open: tuple[Check, ...]
    counted_requests: tuple[UsageCounter, ...]
    counted_tokens: tuple[UsageCounter, ...]
    alarms: tuple[BudgetAlarm, ...]
    generates: bool


class BudgetSlot(msgspec.Struct, frozen=True, eq=False):
    """Holds what all requests of a few minutes charge: buckets and periods that last longer.

    So most requests only add to numbers. begin, end: unix seconds.
    """

    begin: float
    end: float
    requests: tuple[Charge, ...]
    tokens: tuple[Charge, ...]


_NO_SLOT = BudgetSlot(0.0, 0.0, (), ())
_SLOT = 300  # seconds; each wider bucket has so many of them without a rest


class ScopeCounters:
    """Holds the counters of a scope.

    Budgets are counted also without a limit, so that a limit which a reload brings is right at
    once. Of an address only what has a limit is counted.

    limits: those that the plans are made for; `adopt` changes them.
    plans: by the class of the request. slot: what requests of this moment charge; see `renew`.
    open: counts the admitted requests that have not been settled.
    """

    __slots__ = ("_alarms", "_budgets_always", "_counters", "limits", "open", "plans", "slot")

    def __init__(self, scope: Scope) -> None:
        self._budgets_always = not is_address(scope.id)
        self.open = OpenCounter()
        self._counters: dict[str, UsageCounter] = {}
        self._alarms: dict[str, BudgetAlarm] = {}
        self.plans: dict[Kind, Plan] = {}
        self.limits: Mapping[str, int] = {}
        self.slot = _NO_SLOT
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

    def renew(self, moment: Moment) -> None:
        """Make a new slot, when the moment is outside of the one before."""
        calendar = moment.calendar
        end = min((moment.wall // _SLOT + 1) * _SLOT, calendar.day_end)
        budgets = [(n, self._counters[n]) for n in BUDGET_NAMES if n in self._counters]
        requests = [c.take(moment, 0) for n, c in budgets if n not in TOKEN_NAMES]
        tokens = [c.take(moment, 0) for n, c in budgets if n in TOKEN_NAMES]
        self.slot = BudgetSlot(moment.wall, end, tuple(requests), tuple(tokens))

    def forget_slot(self) -> None:
        """Make the next request begin a slot, as days begin at another time now."""
        self.slot = _NO_SLOT

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
        self.slot = _NO_SLOT
        always = BUDGET_NAMES if self._budgets_always else ()
        self._counters = {
            name: self._counters.get(name) or _new_counter(name)
            for name in LIMIT_NAMES
            if (name in limits or name in always) and name != "concurrency"
        }
        checks = {check.limit: check for check in self._checks(scope)}
        self._alarms = {c.limit: self._alarm(c) for c in checks.values() if c.budget and c.maximum}
        for kind, names in NAMES_OF_KIND.items():
            requests = [name for name in names if name not in (*TOKEN_NAMES, "concurrency")]
            tokens = [name for name in names if name in TOKEN_NAMES]
            rates = [name for name in names if name not in BUDGET_NAMES]
            self.plans[kind] = Plan(
                tuple(checks[name] for name in requests if name in checks),
                tuple(checks[name] for name in tokens if name in checks),
                tuple(checks[name] for name in names if name == "concurrency" and name in checks),
                tuple(self._counters[n] for n in requests if n in rates and n in self._counters),
                tuple(self._counters[n] for n in tokens if n in rates and n in self._counters),
                tuple(self._alarms[name] for name in names if name in self._alarms),
                "concurrency" in names,
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


def _new_counter(name: str) -> UsageCounter:
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
