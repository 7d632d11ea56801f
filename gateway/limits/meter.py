"""Admits requests under the limits of all their scopes, or refuses them."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from datetime import tzinfo
from typing import Protocol

import msgspec

from gateway.limits.alarms import BudgetAlarm, BudgetReached
from gateway.limits.claims import Claim, Scope, Seed, Standing, Verdict
from gateway.limits.counters import BudgetSlot, Check, Plan, ScopeCounters, is_address
from gateway.limits.names import Kind
from gateway.limits.windows import Charge, Moment, OpenCounter, UsageCounter, change_tokens

_ENDED = 4096  # ids that are remembered after their end, against a claim that comes twice


class Meter(Protocol):
    """Decides about the requests of the whole gateway, which may have several processes.

    remote: whether another process decides, so that each question costs a message.
    """

    @property
    def remote(self) -> bool: ...

    async def look(self, scopes: Sequence[Scope], kind: Kind) -> Verdict | None:
        """Return the refusal of a caller who is over a limit already; count nothing."""
        ...

    async def claim(self, claim: Claim) -> Verdict:
        """Admit a request and reserve what it needs, or refuse it and count nothing."""
        ...

    def settle(self, claim_id: str, tokens: int | None) -> None:
        """Replace what was reserved by what was used; never waits."""
        ...

    async def standings(self, scopes: Sequence[Scope]) -> list[Standing]:
        """Return how much is used of each limit."""
        ...


class _Open(msgspec.Struct, frozen=True, eq=False):
    """Remembers what an admitted request was charged, and where.

    requests, tokens: what counters per minute were charged. slots: the same for budgets.
    alarms: those of the budgets that it counts in.
    """

    verdict: Verdict
    scopes: tuple[Scope, ...]
    prompt_tokens: int
    requests: tuple[tuple[UsageCounter, Charge], ...]
    tokens: tuple[tuple[UsageCounter, Charge], ...]
    slots: tuple[BudgetSlot, ...]
    open: tuple[OpenCounter, ...]
    alarms: tuple[BudgetAlarm, ...]


class _Refusal:
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

    def verdict(self, moment: Moment, plans: Iterable[Plan], tokens: int) -> Verdict:
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
            *_standings(moment, plans),
            _budget_left(moment, plans),
        )


class LocalMeter:
    """Keeps all counts in memory. Never waits, so each method is one step for all others.

    clock: returns monotonic seconds. wall: returns unix seconds.
    zone: where a day begins.
    max_callers: how many addresses are remembered. Beyond that, the one that was not seen for
        longest is forgotten. max_scopes: the same for keys and teams. None with open requests
        is forgotten.
    on_budget: called when a share of a budget is used; see `BudgetReached`. It must not raise.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        wall: Callable[[], float],
        zone: tzinfo,
        *,
        max_callers: int = 10_000,
        max_scopes: int = 10_000,
        on_budget: Callable[[BudgetReached], None] = lambda _: None,
    ) -> None:
        self.on_budget = on_budget
        self._clock = clock
        self._wall = wall
        self._moment = Moment(zone)
        self._max_callers = max_callers
        self._max_scopes = max_scopes
        self._scopes: OrderedDict[str, ScopeCounters] = OrderedDict()
        self._addresses: OrderedDict[str, ScopeCounters] = OrderedDict()
        self._open: dict[str, _Open] = {}
        self._ended: dict[str, Verdict] = {}
        self._ended_ids = [""] * _ENDED  # the oldest is overwritten next
        self._next_ended = 0

    @property
    def open(self) -> int:
        """Return how many admitted requests have not been settled."""
        return len(self._open)

    def configure(self, *, zone: tzinfo, max_callers: int | None = None) -> None:
        """Use another time zone or bound from now on, after a reload. Counts are kept."""
        self._moment = Moment(zone)
        for group in (self._scopes, self._addresses):
            for counters in group.values():
                counters.forget_slot()
        if max_callers is not None:
            self._max_callers = max_callers

    def remembered(self) -> tuple[int, int]:
        """Return how many addresses, and how many other scopes, are remembered."""
        return len(self._addresses), len(self._scopes)

    def look(self, scopes: Sequence[Scope], kind: Kind) -> Verdict | None:
        """Return the refusal of a caller who is over a limit already, before the body is read.

        Changes no count. A caller at its own concurrency is not refused: it may wait in line.
        """
        moment = self._now()
        plans = []
        for scope in scopes:
            if scope.id[:8] == "address ":
                group = self._addresses
                if scope.id in group:
                    # Who is refused is seen too. Else it would be forgotten, and then admitted.
                    group.move_to_end(scope.id)
            else:
                group = self._scopes
            if scope.id in group:
                counters = group[scope.id]
            elif 0 in scope.limits.values():
                counters = ScopeCounters(scope)
            else:
                continue
            if counters.limits is not scope.limits:
                counters.adopt(scope)
            plans.append(counters.plans[kind])
        refusal = None
        for plan in plans:
            for check in plan.requests + plan.tokens + plan.open:
                used = check.counter.used(moment)
                if used >= check.maximum:
                    refusal = refusal or _Refusal()
                    refusal.add(check, used, moment)
        if refusal is None or refusal.may_queue:
            return None
        self._report_budgets(moment, plans)
        return refusal.verdict(moment, plans, 0)

    def claim(self, claim: Claim) -> Verdict:
        """Admit a request in all of its scopes, or refuse it and count nothing.

        If the prompt fits but not the expected answer, what is left is reserved. A claim that
        comes twice gets the verdict of the first time. Listings need no `settle`.
        """
        if claim.id in self._open:
            return self._open[claim.id].verdict
        if claim.id in self._ended:
            return self._ended[claim.id]
        moment = self._now()
        prompt = claim.prompt_tokens
        tokens = claim.tokens if claim.tokens > prompt else prompt
        # Tuples are joined in place of lists with `append`: with two or three scopes that is less.
        plans: tuple[Plan, ...] = ()
        slots: tuple[BudgetSlot, ...] = ()
        opens: tuple[OpenCounter, ...] = ()
        for scope in claim.scopes:
            group = self._addresses if scope.id[:8] == "address " else self._scopes
            if scope.id in group:
                counters = group[scope.id]
                group.move_to_end(scope.id)
            else:
                counters = self._counters(scope)
            if counters.limits is not scope.limits:
                counters.adopt(scope)
            plan = counters.plans[claim.kind]
            plans += (plan,)
            if plan.generates:
                if not counters.slot.begin <= moment.wall < counters.slot.end:
                    counters.renew(moment)
                slots += (counters.slot,)
                opens += (counters.open,)
        refusal = None
        reserved = tokens
        budget_left: int | None = None
        tightest, most = None, -1.0
        token_checks: tuple[Check, ...] = ()
        for plan in plans:
            token_checks += plan.tokens
            for check in plan.requests:
                used = check.counter.used(moment)
                if used >= check.maximum:
                    refusal = refusal or _Refusal()
                    refusal.add(check, used, moment)
                elif (used + 1) / check.maximum > most:
                    tightest, most = (check, used + 1), (used + 1) / check.maximum
            for check in plan.open:
                used = check.counter.used(moment)
                if used >= check.maximum:
                    refusal = refusal or _Refusal()
                    refusal.add(check, used, moment)
            for check in plan.tokens:
                used = check.counter.used(moment)
                left = check.maximum - used
                if left < prompt or left <= 0:
                    refusal = refusal or _Refusal()
                    refusal.add(check, used, moment, needed=tokens, least=prompt)
                elif left < reserved:
                    reserved = left
                if check.budget and (budget_left is None or left < budget_left):
                    budget_left = left
        if refusal is not None:
            self._report_budgets(moment, plans)
            return refusal.verdict(moment, plans, tokens)
        requests: tuple[tuple[UsageCounter, Charge], ...] = ()
        charged: tuple[tuple[UsageCounter, Charge], ...] = ()
        alarms: tuple[BudgetAlarm, ...] = ()
        for plan in plans:
            alarms += plan.alarms
            for counter in plan.counted_requests:
                requests += ((counter, counter.take(moment, 1)),)
            for counter in plan.counted_tokens:
                charged += ((counter, counter.take(moment, reserved)),)
        for slot in slots:
            for charge in slot.requests:
                charge.amount += 1
            if reserved:
                change_tokens(slot.tokens, reserved)
        for opened in opens:
            opened.open += 1
        verdict = Verdict(
            True,
            moment.calendar.day,
            reserved,
            requests_standing=None
            if tightest is None
            else tightest[0].standing(moment, tightest[1]),
            tokens_standing=_tightest(token_checks, moment) if token_checks else None,
            budget_left=None if budget_left is None else budget_left - reserved,
        )
        if opens:
            self._open[claim.id] = _Open(
                verdict, claim.scopes, prompt, requests, charged, slots, opens, alarms
            )
        else:
            self._remember(claim.id, verdict)
        return verdict

    def settle(self, claim_id: str, tokens: int | None) -> bool:
        """End a request, and replace what was reserved by what was used.

        The period that was charged is corrected, also if it is over. Counts may exceed a
        limit so. A request that is not open, or not any more, changes nothing.

        tokens: None when nobody knows; then the prompt is charged.
        Returns whether the request was open.
        """
        opened = self._close(claim_id)
        if opened is None:
            return False
        used = opened.prompt_tokens if tokens is None else max(0, tokens)
        difference = used - opened.verdict.tokens
        if difference:
            for counter, charge in opened.tokens:
                counter.change(charge, difference)
            for slot in opened.slots:
                change_tokens(slot.tokens, difference)
        if opened.alarms:
            self._report(self._now(), opened.alarms)
        return True

    def withdraw(self, claim_id: str) -> bool:
        """Take everything back that an open request was charged, the request itself too.

        For a caller who left before it could know that it was admitted.
        """
        opened = self._close(claim_id)
        if opened is None:
            return False
        for counter, charge in opened.requests:
            counter.change(charge, -1)
        for counter, charge in opened.tokens:
            counter.change(charge, -opened.verdict.tokens)
        for slot in opened.slots:
            change_tokens(slot.requests, -1)
            change_tokens(slot.tokens, -opened.verdict.tokens)
        return True

    def caller_of(self, claim_id: str) -> str:
        """Return the scope of who sent an open request; "" without one."""
        opened = self._open.get(claim_id)
        callers = () if opened is None else [scope.id for scope in opened.scopes if scope.is_caller]
        return callers[0] if callers else ""

    def standings(self, scopes: Sequence[Scope]) -> list[Standing]:
        """Return how much is used of each limit of the scopes; changes no count."""
        moment = self._now()
        return [
            check.standing(moment)
            for scope in scopes
            for check in (self._group(scope.id).get(scope.id) or ScopeCounters(scope)).checks(scope)
        ]

    def seed(self, seeds: Iterable[Seed]) -> None:
        """Add what was used before the gateway started. Call it once, before claims."""
        moment = self._now()
        for seed in seeds:
            self._counters(Scope(seed.scope, {})).seed(seed, moment)

    def _report_budgets(self, moment: Moment, plans: Iterable[Plan]) -> None:
        for plan in plans:
            self._report(moment, plan.alarms)

    def _report(self, moment: Moment, alarms: Iterable[BudgetAlarm]) -> None:
        """Tell `on_budget` of the budgets of which a share is used, once each."""
        for alarm in alarms:
            reached = alarm.due(moment)
            if reached is not None:
                self.on_budget(reached)

    def _now(self) -> Moment:
        moment = self._moment
        moment.monotonic = self._clock()
        moment.wall = wall = self._wall()
        if not moment.calendar.begin <= wall < moment.calendar.day_end:
            moment.calendar.move_to(wall)
        return moment

    def _group(self, scope_id: str) -> OrderedDict[str, ScopeCounters]:
        return self._addresses if is_address(scope_id) else self._scopes

    def _counters(self, scope: Scope) -> ScopeCounters:
        """Return the counters of a scope, which is the one that was seen last now."""
        group = self._addresses if scope.id[:8] == "address " else self._scopes
        if scope.id in group:
            group.move_to_end(scope.id)
        else:
            self._forget(group)
            group[scope.id] = ScopeCounters(scope)
        return group[scope.id]

    def _forget(self, group: OrderedDict[str, ScopeCounters]) -> None:
        """Make room for one more, unless all have open requests."""
        bound = self._max_callers if group is self._addresses else self._max_scopes
        busy = 0
        while len(group) >= bound and busy < len(group):
            oldest = next(iter(group))
            if group[oldest].open.open:
                group.move_to_end(oldest)
                busy += 1
            else:
                del group[oldest]

    def _close(self, claim_id: str) -> _Open | None:
        opened = self._open.pop(claim_id, None)
        if opened is not None:
            for counter in opened.open:
                counter.open -= 1
            self._remember(claim_id, opened.verdict)
        return opened

    def _remember(self, claim_id: str, verdict: Verdict) -> None:
        oldest = self._ended_ids[self._next_ended]
        if oldest:
            del self._ended[oldest]
        self._ended[claim_id] = verdict
        self._ended_ids[self._next_ended] = claim_id
        self._next_ended = (self._next_ended + 1) % _ENDED


def _standings(moment: Moment, plans: Iterable[Plan]) -> tuple[Standing | None, Standing | None]:
    """Return the limits of requests and of tokens with the smallest remaining share."""
    return _tightest([c for p in plans for c in p.requests], moment), _tightest(
        [c for p in plans for c in p.tokens], moment
    )


def _budget_left(moment: Moment, plans: Iterable[Plan]) -> int | None:
    """Return the fewest tokens that are left of any budget."""
    left = [c.maximum - c.counter.used(moment) for p in plans for c in p.tokens if c.budget]
    return max(0, min(left)) if left else None


def _tightest(checks: Sequence[Check], moment: Moment) -> Standing | None:
    if not checks:
        return None
    found, most = checks[0], -1.0
    for check in checks:
        used = check.counter.used(moment) / check.maximum if check.maximum else math.inf
        if used > most:
            found, most = check, used
    return found.standing(moment)
