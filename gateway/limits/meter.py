"""Admits requests under the limits of all their scopes, or refuses them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import tzinfo
from typing import Protocol

import msgspec

from gateway.limits.alarms import BudgetAlarm, BudgetReached
from gateway.limits.claims import Claim, Scope, Seed, Standing, Verdict
from gateway.limits.counters import ScopeCounters, is_address
from gateway.limits.names import Kind
from gateway.limits.plans import BudgetSlot, Check, Plan, joined
from gateway.limits.refusals import Refusal, budget_left, tightest_standing
from gateway.limits.windows import Charge, Moment, TokenWindow, change_tokens

_ENDED = 4096  # ids that are remembered after their end, against a claim that comes twice


class Meter(Protocol):
    """Decides about the requests of the whole gateway, which may have several processes.

    local: what decides at once; None if another process does, so that each question costs a
        message.
    """

    @property
    def local(self) -> LocalMeter | None: ...

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

    at: the monotonic time of its admission.
    tokens: what counters per minute were charged. slot: the same for budgets.
    """

    verdict: Verdict
    scopes: tuple[Scope, ...]
    prompt_tokens: int
    at: float
    plan: Plan
    tokens: tuple[tuple[TokenWindow, Charge], ...]
    slot: BudgetSlot


class _JoinedPlan(msgspec.Struct, frozen=True, eq=False):
    """Remembers the plan of a caller's requests of one class, and for which scopes it is.

    places: where the counters of each scope are, to note that they were seen.
    """

    scopes: tuple[Scope, ...]
    plan: Plan
    places: tuple[tuple[OrderedDict[str, ScopeCounters], str], ...]


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
        self._joined: dict[tuple[str, Kind], _JoinedPlan] = {}
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
        self._joined.clear()  # days begin at another time now
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
        known = self._joined.get((scopes[0].id, kind))
        if known is not None and known.scopes == scopes:
            plan = known.plan
            for group, scope_id in known.places:
                group.move_to_end(scope_id)
        else:
            plan = joined([counters.plans[kind] for counters in self._seen(scopes)])
        refusal = None
        for check in plan.requests + plan.tokens + plan.open:
            used = check.counter.used(moment)
            if used >= check.maximum:
                refusal = refusal or Refusal()
                refusal.add(check, used, moment)
        if refusal is None or refusal.may_queue:
            return None
        self._report(moment, plan.alarms)
        return refusal.verdict(moment, plan, 0)

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
        scopes, prompt = claim.scopes, claim.prompt_tokens
        reserved = tokens = claim.tokens if claim.tokens > prompt else prompt
        known = self._joined.get((scopes[0].id, claim.kind))
        if known is None or known.scopes != scopes:
            known = self._join(scopes, claim.kind)
        for group, scope_id in known.places:
            group.move_to_end(scope_id)
        plan = known.plan
        refusal = tightest = None
        most = -1.0
        for check in plan.requests:
            used = check.counter.used(moment)
            if used >= check.maximum:
                refusal = refusal or Refusal()
                refusal.add(check, used, moment)
            elif (used + 1) / check.maximum > most:
                tightest, most = (check, used + 1), (used + 1) / check.maximum
        for check in plan.open:
            used = check.counter.used(moment)
            if used >= check.maximum:
                refusal = refusal or Refusal()
                refusal.add(check, used, moment)
        for check in plan.tokens:
            used = check.counter.used(moment)
            left = check.maximum - used
            if left < prompt or left <= 0:
                refusal = refusal or Refusal()
                refusal.add(check, used, moment, needed=tokens, least=prompt)
            elif left < reserved:
                reserved = left
        if refusal is not None:
            self._report(moment, plan.alarms)
            return refusal.verdict(moment, plan, tokens)
        return self._charge(claim, plan, moment, reserved, tightest)

    def _charge(
        self,
        claim: Claim,
        plan: Plan,
        moment: Moment,
        reserved: int,
        tightest: tuple[Check, int] | None,
    ) -> Verdict:
        """Count a request that is admitted.

        tightest: the limit of requests with the smallest remaining share, and what is used of it
            with this request.
        """
        for window in plan.windows:
            window.add(moment.monotonic)
        tokens: tuple[tuple[TokenWindow, Charge], ...] = ()
        for token_window in plan.token_windows:
            tokens += ((token_window, token_window.take(moment, reserved)),)
        slot = plan.slot
        if not slot.begin <= moment.wall < slot.end:
            slot = plan.renew(moment)
        for charge in slot.requests:
            charge.amount += 1
        if reserved:
            change_tokens(slot.tokens, reserved)
        for opened in plan.opens:
            opened.open += 1
        verdict = Verdict(
            True,
            moment.calendar.day,
            reserved,
            requests_standing=None
            if tightest is None
            else tightest[0].standing(moment, tightest[1]),
            tokens_standing=tightest_standing(plan.tokens, moment) if plan.tokens else None,
            budget_left=budget_left(moment, plan) if plan.tokens else None,
        )
        if plan.opens:
            self._open[claim.id] = _Open(
                verdict, claim.scopes, claim.prompt_tokens, moment.monotonic, plan, tokens, slot
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
            change_tokens(opened.slot.tokens, difference)
        if opened.plan.alarms:
            self._report(self._now(), opened.plan.alarms)
        return True

    def withdraw(self, claim_id: str) -> bool:
        """Take everything back that an open request was charged, the request itself too.

        For a caller who left before it could know that it was admitted.
        """
        opened = self._close(claim_id)
        if opened is None:
            return False
        for window in opened.plan.windows:
            window.remove(opened.at)
        for counter, charge in opened.tokens:
            counter.change(charge, -opened.verdict.tokens)
        change_tokens(opened.slot.requests, -1)
        change_tokens(opened.slot.tokens, -opened.verdict.tokens)
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

    def _seen(self, scopes: Sequence[Scope]) -> Iterator[ScopeCounters]:
        """Yield the counters of scopes, without making any that could not refuse a request."""
        for scope in scopes:
            group = self._group(scope.id)
            if scope.id in group:
                # Who is refused is seen too. Else it would be forgotten, and then admitted.
                group.move_to_end(scope.id)
                counters = group[scope.id]
            elif 0 in scope.limits.values():
                counters = ScopeCounters(scope)
            else:
                continue
            counters.adopt(scope)
            yield counters

    def _join(self, scopes: tuple[Scope, ...], kind: Kind) -> _JoinedPlan:
        """Return the plan for a caller's requests of a class, and remember it."""
        plans = []
        for scope in scopes:
            counters = self._counters(scope)
            counters.adopt(scope)
            plans.append(counters.plans[kind])
        places = tuple((self._group(scope.id), scope.id) for scope in scopes)
        known = _JoinedPlan(scopes, joined(plans), places)
        self._joined[scopes[0].id, kind] = known
        return known

    def _counters(self, scope: Scope) -> ScopeCounters:
        """Return the counters of a scope, which is the one that was seen last now."""
        group = self._group(scope.id)
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
                self._joined.clear()

    def _close(self, claim_id: str) -> _Open | None:
        opened = self._open.pop(claim_id, None)
        if opened is not None:
            for counter in opened.plan.opens:
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
