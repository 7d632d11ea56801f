"""In every order of events: no slot is lost or given twice, and callers take turns."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.accounts.account import LocalLease
from gateway.accounts.health import CallOutcome
from gateway.errors import GatewayError, RateLimited
from tests.unit.accounts.support import FakeSession, ManualLoop, PoolClock, make_pool

OUTCOMES: list[CallOutcome] = ["good", "good", "bad", "limited", "refused", "unknown"]
LENGTH = 5


@dataclass(eq=False)
class PoolRequest:
    """A request: its task, which holds the slot once it has one."""

    key: str
    task: asyncio.Task[LocalLease[Any]]
    queued: bool = False
    lease: LocalLease[Any] | None = None
    passed: Counter[str] = field(default_factory=Counter)


class PoolMachine(RuleBasedStateMachine):
    """Requests that come, wait, leave and end in every way, before accounts that come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = PoolClock()
        self.loop = ManualLoop(self.clock)
        self.requests: list[PoolRequest] = []

    @initialize(limits=st.lists(st.integers(1, 3), min_size=1, max_size=3))
    def start(self, limits: list[int]) -> None:
        self.pool = make_pool(*limits, clock=self.clock, failures=2, pause=4.0, queue_length=LENGTH)
        self.small: list[LocalLease[Any]] = []

    def settle(self, *calls: Callable[[], object]) -> None:
        """Make these calls in one go, then run the event loop."""
        faults: list[Any] = []
        self.loop.set_exception_handler(lambda _, context: faults.append(context))
        self.loop.call_soon(lambda: [call() for call in calls])
        self.loop.settle()
        assert not faults
        for request in list(self.requests):
            if request.task.done() and request.lease is None:
                if request.task.cancelled() or request.task.exception() is not None:
                    assert request.task.cancelled() or isinstance(
                        request.task.exception(), GatewayError
                    )
                    self.requests.remove(request)
                    continue
                request.lease = request.task.result()
                if request.queued:
                    self.note_turn(request)
            elif not request.task.done():
                request.queued = True

    def note_turn(self, served: PoolRequest) -> None:
        """Check that no key overtakes another twice, and that a key's own requests keep order."""
        seen = set()
        for other in self.requests:
            if other.task.done() or not other.queued or other.key in seen:
                continue
            seen.add(other.key)
            other.passed[served.key] += 1
            if other.key != served.key:
                assert other.passed[served.key] <= 1
        for other in self.requests:  # the next of its key starts again
            if other.key == served.key:
                other.passed.clear()

    def holders(self) -> list[PoolRequest]:
        return [request for request in self.requests if request.lease is not None]

    def waiters(self) -> list[PoolRequest]:
        return [request for request in self.requests if request.lease is None]

    @rule(key=st.sampled_from("xyz"), wait=st.sampled_from([1.0, 3.0, 50.0]))
    def come(self, key: str, wait: float) -> None:
        self.pool.budget.earn()
        task = self.loop.create_task(self.pool.acquire(key, wait))
        self.requests.append(PoolRequest(key, task))
        self.settle()

    @precondition(lambda self: self.holders())
    @rule(data=st.data(), outcome=st.sampled_from(OUTCOMES))
    def end(self, data: Any, outcome: CallOutcome) -> None:
        request = data.draw(st.sampled_from(self.holders()))
        self.requests.remove(request)
        release = partial(request.lease.release, outcome, RateLimited("429"))
        self.settle(release, release)  # the second time changes nothing

    @precondition(lambda self: self.holders())
    @rule(data=st.data())
    def read_error(self, data: Any) -> None:
        self.settle(data.draw(st.sampled_from(self.holders())).lease.answered)

    @precondition(lambda self: self.waiters())
    @rule(data=st.data())
    def leave(self, data: Any) -> None:
        self.settle(data.draw(st.sampled_from(self.waiters())).task.cancel)

    @precondition(lambda self: self.holders() and self.waiters())
    @rule(data=st.data())
    def leave_while_being_served(self, data: Any) -> None:
        holder = data.draw(st.sampled_from(self.holders()))
        leaver = data.draw(st.sampled_from(self.waiters()))
        self.requests.remove(holder)
        # The request that is served has not run yet when the other leaves; it may be the same.
        self.settle(partial(holder.lease.release, "good"), leaver.task.cancel)

    @rule(seconds=st.sampled_from([0.5, 1.1, 5.0, 40.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.clock.now += seconds
        self.settle()

    @rule(index=st.integers(0, 2), refused=st.booleans())
    def change_a_session(self, index: int, refused: bool) -> None:
        session: FakeSession = self.pool.accounts[index % len(self.pool.accounts)].session
        self.settle(session.refuse if refused else session.recover, self.pool.grant_slots)

    @rule()
    def make_a_small_call(self) -> None:
        with suppress(GatewayError):
            self.small.append(self.pool.take_completion())

    @precondition(lambda self: self.small)
    @rule(outcome=st.sampled_from(OUTCOMES))
    def end_a_small_call(self, outcome: CallOutcome) -> None:
        self.settle(partial(self.small.pop().release, outcome, RateLimited("429")))

    @invariant()
    def no_slot_is_lost_or_given_twice(self) -> None:
        if not hasattr(self, "pool"):
            return
        held = Counter(id(request.lease.account) for request in self.holders() if request.lease)
        for account in self.pool.accounts:
            assert 0 <= account.busy <= account.limit
            assert account.busy == held[id(account)]
            assert account.completions_busy <= account.completion_limit
        assert sum(a.completions_busy for a in self.pool.accounts) == len(self.small)

    @invariant()
    def the_queue_is_bounded_and_holds_what_waits(self) -> None:
        if hasattr(self, "pool"):
            assert self.pool.summary().queued == len(self.waiters()) <= LENGTH

    @invariant()
    def no_request_waits_while_a_slot_is_free_or_none_can_come(self) -> None:
        if hasattr(self, "pool") and self.waiters():
            assert not [a for a in self.pool.accounts if a.admits() and a.busy < a.limit]
            assert [a for a in self.pool.accounts if a.wait() == 0]

    def teardown(self) -> None:
        if hasattr(self, "pool"):
            self.settle(*(request.task.cancel for request in self.waiters()))
            leases = [request.lease for request in self.holders() if request.lease]
            self.settle(*(partial(lease.release, "good") for lease in [*leases, *self.small]))
            assert [account.busy for account in self.pool.accounts] == [0] * len(self.pool.accounts)
            assert self.pool.summary().queued == 0
        self.loop.close()


def test_a_queued_request_is_served_at_the_moment_when_a_pause_ends() -> None:
    machine = PoolMachine()
    machine.start([1, 1])
    machine.come("x", 50.0)
    small = [machine.pool.take_completion() for _ in range(2)]
    free = next(lease for lease in small if lease.account.busy == 0)
    free.release("limited", RateLimited("429"))
    machine.let_time_pass(0.5)
    machine.come("y", 50.0)
    assert len(machine.waiters()) == 1
    machine.let_time_pass(0.5)
    assert not machine.waiters()
    machine.teardown()


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
