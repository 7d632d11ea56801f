"""Holds the counters of one scope, and what of them a request of each class uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.limits.claims import Scope, Seed, Standing
from gateway.limits.names import BUDGET_NAMES, LIMIT_NAMES, NAMES_OF_KIND, TOKEN_NAMES, Kind
from gateway.limits.windows import (
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
    """Describes one limit of a scope, and the counter that it is compared with."""

    scope: Scope
    limit: str
    maximum: int
    counter: UsageGauge

    @property
    def of_caller_concurrency(self) -> bool:
        """Return whether this is the caller's own limit of open requests."""
        return self.limit == "concurrency" and self.scope.is_caller

    def standing(self, moment: Moment) -> Standing:
        """Return how much of the limit is used at this moment."""
        used, maximum = self.counter.used(moment), self.maximum
        return Standing(
            self.scope.id,
            self.limit,
            maximum,
            used,
            max(0, maximum - used),
            max(0.0, self.counter.resets(moment)),
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """Lists what a request of one class has to do with the counters of a scope.

    requests, tokens, open: the limits that are checked. The others are the counters that are
    charged, which have no limit perhaps.
    """

    requests: tuple[Check, ...]
    tokens: tuple[Check, ...]
    open: tuple[Check, ...]
    counted_requests: tuple[UsageCounter, ...]
    counted_tokens: tuple[UsageCounter, ...]
    counted_open: tuple[OpenCounter, ...]


class ScopeCounters:
    """Holds the counters of a scope.

    Budgets are counted also without a limit, so that a limit which a reload brings is right at
    once. Of an address only what has a limit is counted.
    """

    __slots__ = ("_budgets_always", "_counters", "_limits", "_open", "_plans")

    def __init__(self, scope: Scope) -> None:
        self._budgets_always = not is_address(scope.id)
        self._open = OpenCounter()
        self._counters: dict[str, UsageCounter] = {}
        self._plans: dict[Kind, Plan] = {}
        self._limits: Mapping[str, int] = {}
        self._prepare(scope)

    @property
    def open(self) -> int:
        """Return how many admitted requests have not been settled."""
        return self._open.open

    def plan(self, scope: Scope, kind: Kind) -> Plan:
        """Return the plan for a request of this class, with the limits that the scope has now."""
        if scope.limits is not self._limits:
            if scope.limits != self._limits:
                self._prepare(scope)
            self._limits = scope.limits
        return self._plans[kind]

    def checks(self, scope: Scope) -> list[Check]:
        """Return all limits of the scope."""
        self.plan(scope, "chat")
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
        self._limits = limits = scope.limits
        always = BUDGET_NAMES if self._budgets_always else ()
        self._counters = {
            name: self._counters.get(name) or _new_counter(name)
            for name in LIMIT_NAMES
            if (name in limits or name in always) and name != "concurrency"
        }
        checks = {check.limit: check for check in self._checks(scope)}
        for kind, names in NAMES_OF_KIND.items():
            requests = [name for name in names if name not in (*TOKEN_NAMES, "concurrency")]
            tokens = [name for name in names if name in TOKEN_NAMES]
            holds = "concurrency" in names
            self._plans[kind] = Plan(
                tuple(checks[name] for name in requests if name in checks),
                tuple(checks[name] for name in tokens if name in checks),
                (checks["concurrency"],) if holds and "concurrency" in checks else (),
                tuple(self._counters[name] for name in requests if name in self._counters),
                tuple(self._counters[name] for name in tokens if name in self._counters),
                (self._open,) if holds else (),
            )

    def _checks(self, scope: Scope) -> list[Check]:
        gauges: dict[str, UsageGauge] = {**self._counters, "concurrency": self._open}
        return [
            Check(scope, name, scope.limits[name], gauges[name])
            for name in LIMIT_NAMES
            if name in scope.limits
        ]


def is_address(scope_id: str) -> bool:
    """Return whether a scope is that of an address, of which there may be any number."""
    return scope_id.startswith("address ")


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
