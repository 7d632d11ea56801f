"""Lists what a request has to do with the counters of its scopes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from gateway.limits.alarms import BudgetAlarm
from gateway.limits.claims import Scope, Standing
from gateway.limits.windows import (
    Charge,
    Moment,
    OpenCounter,
    RequestWindow,
    TokenWindow,
    UsageCounter,
    UsageGauge,
)

_SLOT = 300  # seconds; each wider bucket has so many of them without a rest


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


class BudgetSlot(msgspec.Struct, frozen=True, eq=False):
    """Holds what all requests of a few minutes charge: buckets and periods that last longer.

    So most requests only add to numbers. begin, end: unix seconds.
    """

    begin: float
    end: float
    requests: tuple[Charge, ...]
    tokens: tuple[Charge, ...]


_NO_SLOT = BudgetSlot(0.0, 0.0, (), ())


class Plan(msgspec.Struct, eq=False, kw_only=True):
    """Lists what a request of one class has to do with the counters of one or more scopes.

    requests, tokens, open: the limits that are checked.
    windows, token_windows: the counters per minute that are charged.
    request_budgets, token_budgets: the counters of longer times that are charged.
    alarms: those of the budgets.
    opens: what counts the request until it is settled; empty for a request that is not settled.
    slot: what requests of this moment charge; see `renew`.
    """

    requests: tuple[Check, ...]
    tokens: tuple[Check, ...]
    open: tuple[Check, ...]
    windows: tuple[RequestWindow, ...]
    token_windows: tuple[TokenWindow, ...]
    request_budgets: tuple[UsageCounter, ...]
    token_budgets: tuple[UsageCounter, ...]
    alarms: tuple[BudgetAlarm, ...]
    opens: tuple[OpenCounter, ...]
    slot: BudgetSlot = _NO_SLOT

    def renew(self, moment: Moment) -> BudgetSlot:
        """Return a new slot, and keep it, when the moment is outside of the one before."""
        end = min((moment.wall // _SLOT + 1) * _SLOT, moment.calendar.day_end)
        requests = tuple(counter.take(moment, 0) for counter in self.request_budgets)
        tokens = tuple(counter.take(moment, 0) for counter in self.token_budgets)
        self.slot = BudgetSlot(moment.wall, end, requests, tokens)
        return self.slot


def joined(plans: Sequence[Plan]) -> Plan:
    """Return one plan for all scopes of a request."""
    return Plan(
        requests=sum((plan.requests for plan in plans), ()),
        tokens=sum((plan.tokens for plan in plans), ()),
        open=sum((plan.open for plan in plans), ()),
        windows=sum((plan.windows for plan in plans), ()),
        token_windows=sum((plan.token_windows for plan in plans), ()),
        request_budgets=sum((plan.request_budgets for plan in plans), ()),
        token_budgets=sum((plan.token_budgets for plan in plans), ()),
        alarms=sum((plan.alarms for plan in plans), ()),
        opens=sum((plan.opens for plan in plans), ()),
    )
