"""Queues callers at their own concurrency for a moment, in place of a refusal."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Sequence

import msgspec

from gateway.limits.claims import Claim, Scope, Standing, Verdict
from gateway.limits.meter import LocalMeter
from gateway.limits.names import Kind

# Requests that wait at once: of one caller, and of all. Each holds its body in memory.
_MOST_OF_CALLER = 64
_MOST = 1000


class _WaitingClaim:
    """Holds a claim in line, and the future that its verdict goes to."""

    __slots__ = ("caller", "claim", "refusal", "verdict")

    def __init__(self, claim: Claim, refusal: Verdict, verdict: asyncio.Future[Verdict]) -> None:
        self.caller = refusal.scope
        self.claim = claim
        self.refusal = refusal
        self.verdict = verdict


class _CallerLine:
    """Holds what waits for one caller's concurrency.

    Conversations take turns, and in one the first to come is the first to go. Side calls go
    when nothing else waits.
    """

    __slots__ = ("_main", "_side", "size")

    def __init__(self) -> None:
        self._main: OrderedDict[str, deque[_WaitingClaim]] = OrderedDict()
        self._side: OrderedDict[str, deque[_WaitingClaim]] = OrderedDict()
        self.size = 0

    def push(self, waiter: _WaitingClaim) -> None:
        turns = self._turns_of(waiter)
        turns.setdefault(waiter.claim.conversation, deque()).append(waiter)
        self.size += 1

    def first(self) -> _WaitingClaim | None:
        for turns in (self._main, self._side):
            for waiters in turns.values():
                return waiters[0]
        return None

    def pass_turn(self, waiter: _WaitingClaim) -> None:
        """Put the conversation of a waiter behind all others."""
        self._turns_of(waiter).move_to_end(waiter.claim.conversation)

    def remove(self, waiter: _WaitingClaim) -> bool:
        """Remove a waiter; return False if it is not in line any more."""
        turns = self._turns_of(waiter)
        waiters = turns.get(waiter.claim.conversation, ())
        if waiter not in waiters:
            return False
        turns[waiter.claim.conversation].remove(waiter)
        self.size -= 1
        if not turns[waiter.claim.conversation]:
            del turns[waiter.claim.conversation]
        return True

    def _turns_of(self, waiter: _WaitingClaim) -> OrderedDict[str, deque[_WaitingClaim]]:
        return self._side if waiter.claim.side_call else self._main


class AdmissionQueue:
    """Implements `Meter` with a line in front of a local one.

    Who is refused only because of its own concurrency waits until one of its requests ends.
    Agents call several helpers at once, and one 429 aborts them all. The concurrency of a team
    or of the gateway refuses at once: in such a line one caller could stop the others.

    wait: how many seconds a claim waits, then it is refused; 0 for no line.
    """

    def __init__(
        self,
        meter: LocalMeter,
        wait: float,
        *,
        most_of_caller: int = _MOST_OF_CALLER,
        most: int = _MOST,
    ) -> None:
        self.meter = meter
        self.wait = wait  # a reload may set another
        self.waiting = 0
        self._most_of_caller = most_of_caller
        self._most = most
        self._lines: dict[str, _CallerLine] = {}

    @property
    def local(self) -> LocalMeter:
        """Return the meter behind the line."""
        return self.meter

    async def look(self, scopes: Sequence[Scope], kind: Kind) -> Verdict | None:
        """See `LocalMeter.look`."""
        return self.meter.look(scopes, kind)

    async def standings(self, scopes: Sequence[Scope]) -> list[Standing]:
        """See `LocalMeter.standings`."""
        return self.meter.standings(scopes)

    async def claim(self, claim: Claim) -> Verdict:
        """Admit or refuse a claim like the meter; it may wait in line before.

        A claim that is cancelled leaves the line at once and is charged nothing.
        """
        verdict = self.meter.claim(claim)
        if not verdict.may_queue or self.wait <= 0 or self.waiting >= self._most:
            return verdict
        line = self._lines.get(verdict.scope)
        if line is None:
            line = self._lines[verdict.scope] = _CallerLine()
        elif line.size >= self._most_of_caller:
            return verdict
        loop = asyncio.get_running_loop()
        waiter = _WaitingClaim(claim, verdict, loop.create_future())
        line.push(waiter)
        self.waiting += 1
        begun = loop.time()
        timer = loop.call_later(self.wait, self._give_up, waiter)
        try:
            verdict = await waiter.verdict
            return msgspec.structs.replace(verdict, waited=loop.time() - begun)
        except asyncio.CancelledError:
            self._leave(waiter)
            if not waiter.verdict.cancelled() and waiter.verdict.result().admitted:
                # It was admitted in the moment in which the client left.
                self.withdraw(claim.id)
            raise
        finally:
            timer.cancel()

    def settle(self, claim_id: str, tokens: int | None) -> None:
        """End a claim like the meter, and admit who waits for its place."""
        line = self._line_behind(claim_id) if self._lines else None
        self.meter.settle(claim_id, tokens)
        if line is not None:
            self._admit_from(line)

    def withdraw(self, claim_id: str) -> None:
        """Take a claim back like the meter, and admit who waits for its place."""
        line = self._line_behind(claim_id) if self._lines else None
        self.meter.withdraw(claim_id)
        if line is not None:
            self._admit_from(line)

    def _line_behind(self, claim_id: str) -> _CallerLine | None:
        """Return the line of those who wait for an open claim of their caller to end."""
        return self._lines.get(self.meter.caller_of(claim_id))

    def _admit_from(self, line: _CallerLine) -> None:
        while (waiter := line.first()) is not None:
            if waiter.verdict.cancelled():  # and its task has not run since
                self._leave(waiter)
                continue
            verdict = self.meter.claim(waiter.claim)
            if verdict.may_queue:
                waiter.refusal = verdict
                return
            line.pass_turn(waiter)
            self._leave(waiter)
            waiter.verdict.set_result(verdict)

    def _give_up(self, waiter: _WaitingClaim) -> None:
        if not waiter.verdict.done():
            self._leave(waiter)
            waiter.verdict.set_result(waiter.refusal)

    def _leave(self, waiter: _WaitingClaim) -> None:
        line = self._lines.get(waiter.caller)
        if line is not None and line.remove(waiter):
            self.waiting -= 1
            if not line.size:
                del self._lines[waiter.caller]
