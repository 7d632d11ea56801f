"""Implements the pool: it gives each request an account, or queues it while all are busy."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic

import structlog

from gateway.accounts.account import Account, CallKind, LocalLease, S
from gateway.accounts.fair_queue import FairQueue
from gateway.accounts.pool_errors import busy_error, copy_error, no_account_error
from gateway.accounts.prompt_digest import Digest
from gateway.accounts.retry_budget import RetryBudget
from gateway.accounts.selection_policy import least_busy
from gateway.errors import AccountRefused, GatewayError, Unavailable

_log = structlog.get_logger("accounts")

# Prompts that failed on every account and are forgiven, until an account serves one: with more of
# them it is no longer the prompts that are the reason.
_MAX_FORGIVEN = 3


@dataclass(slots=True, eq=False)
class _Waiter(Generic[S]):
    """Holds the place of a request in the queue.

    until_pause_ends: whether it waits for the end of a short pause of all accounts. A request
        that has failed once does not: it would ask an account that has just refused it.
    without: names of the accounts that it has tried.
    """

    lease: asyncio.Future[LocalLease[S]]
    prompt: Digest | None
    until_pause_ends: bool
    without: Sequence[str]


@dataclass(frozen=True, slots=True)
class PoolSummary:
    """Holds the numbers of a pool.

    healthy, total: accounts that could serve a request, and all accounts.
    streams: chats that run. queued: requests that wait for a slot.
    """

    healthy: int
    total: int
    streams: int
    queued: int


class LocalPool(Generic[S]):
    """Grants slots of several accounts to requests, and queues requests while all are busy.

    queue_length: how many requests may wait. When the queue is full, one request is refused;
        `FairQueue` decides which. Keys are served in turn.
    retry_ratio: retries that are allowed for each request, on average.
    queue_wait: seconds that a request may wait. While every account pauses, requests wait for
        the end of a pause that is shorter; else they are refused at once.
    """

    def __init__(
        self,
        accounts: Sequence[Account[S]],
        *,
        queue_length: int,
        retry_ratio: float,
        queue_wait: float,
    ) -> None:
        self.queue_wait = queue_wait
        self.forgiven: set[bytes] = set()  # digests
        self.accounts = tuple(accounts)
        self.budget = RetryBudget(retry_ratio)
        self.queue: FairQueue[_Waiter[S]] = FairQueue(queue_length)
        self.lease_number = 0  # of the newest lease
        self._timer: asyncio.TimerHandle | None = None
        self._successor: LocalPool[S] | None = None

    def take_over(self, former: LocalPool[S]) -> None:
        """Take the slots, the queue and the budget of the pool of the former configuration.

        Accounts with the same identity are kept, with their leases and their health; they get
        the new settings. Waiting requests keep their place in the queue. Slots that the former
        pool granted are released to this pool.
        """
        known = {account.identity: account for account in former.accounts}
        self.accounts = tuple(
            known[account.identity].updated_from(account) if account.identity in known else account
            for account in self.accounts
        )
        former.queue.length, self.queue = self.queue.length, former.queue
        former.budget.ratio, self.budget = self.budget.ratio, former.budget
        self.forgiven = former.forgiven
        self.lease_number = former.lease_number
        former._stop_timer()
        former._successor = self
        self.grant_slots()

    def take(
        self, prompt: Digest | None = None, *, without: Sequence[str] = ()
    ) -> LocalLease[S] | None:
        """Return a free slot; None if there is none or if other requests wait for it.

        prompt: of the call that the slot is for; it decides which failures count.
        without: names of accounts that must not be used.
        """
        account = None if self.queue.size else self._choose(prompt, without)
        return None if account is None else LocalLease(account, self, "chat", prompt)

    def take_completion(
        self, prefer: str | None = None, prompt: Digest | None = None
    ) -> LocalLease[S]:
        """Return a slot for a code completion.

        Completions never wait. They have slots of their own, so that chats and completions do
        not block each other. Raises a GatewayError when no account can serve.

        prefer: the name of the account to use if it has a free slot.
        """
        account = self._choose(prompt, kind="completion", prefer=prefer)
        if account is None:
            raise no_account_error(self.accounts) or busy_error("code completions do not wait")
        return LocalLease(account, self, "completion", prompt)

    async def acquire_completion(
        self, prefer: str | None = None, prompt: Digest | None = None
    ) -> LocalLease[S]:
        """Call `take_completion`; async, as `AccountPool` requires."""
        return self.take_completion(prefer, prompt)

    async def acquire_other(
        self,
        key: Hashable,
        wait: float,
        tried: Sequence[str],
        prompt: Digest | None = None,
    ) -> LocalLease[S] | None:
        """Return a slot of an account that was not tried yet, after a wait if necessary.

        Returns None when all others are busy and the last tried account may be used: its slot
        may become free first. Raises like `acquire`.

        tried: names of the accounts that were tried, at least one, the last one last.
        """
        if lease := self.take(prompt, without=tried):
            return lease
        if any(account.name == tried[-1] and account.admits(prompt) for account in self.accounts):
            return None
        return await self.acquire(key, wait, prompt, until_pause_ends=False, without=tried)

    async def acquire(
        self,
        key: Hashable,
        wait: float,
        prompt: Digest | None = None,
        *,
        until_pause_ends: bool = True,
        without: Sequence[str] = (),
    ) -> LocalLease[S]:
        """Return a slot, after at most `wait` seconds in the queue.

        Raises a GatewayError as soon as no account can serve before `queue_wait`, and
        Unavailable (`server_is_overloaded`) when the queue is full or `wait` is over.
        Cancelling leaves the queue at once.

        key: the caller; callers are served in turn. prompt: see `take`.
        until_pause_ends: whether to wait while all accounts pause for a short time.
        without: names of accounts that must not be used, also after their pause.
        """
        if lease := self.take(prompt, without=without):
            return lease
        fault = no_account_error(self.accounts)
        if fault and not (until_pause_ends and self._pauses_briefly(fault)):
            raise fault
        waiter = _Waiter[S](
            asyncio.get_running_loop().create_future(), prompt, until_pause_ends, without
        )
        self._enqueue(key, waiter)
        self._restart_timer()
        try:
            async with asyncio.timeout(wait):
                return await waiter.lease
        except TimeoutError:
            self._remove_waiter(key, waiter)
            late = no_account_error(self.accounts) or busy_error("none became free in time")
            raise late from None
        except asyncio.CancelledError:
            self._remove_waiter(key, waiter)
            raise

    def fault(self) -> GatewayError | None:
        """Return why no request can be served now; None if one can, perhaps after a wait."""
        if any(account.ready and not account.wait() for account in self.accounts):
            return None
        faults = [account.session.fault for account in self.accounts]
        known = next((fault.message for fault in faults if fault), None)
        return no_account_error(self.accounts) or Unavailable(
            known or "The login to Fitten has not been made yet."
        )

    def summary(self) -> PoolSummary:
        """Return the numbers of the pool."""
        return PoolSummary(
            healthy=sum(account.ready and account.state == "healthy" for account in self.accounts),
            total=len(self.accounts),
            streams=sum(account.busy for account in self.accounts),
            queued=self.queue.size,
        )

    @property
    def serving(self) -> tuple[int, int]:
        """Return how many accounts could serve a request now, and how many there are."""
        summary = self.summary()
        return summary.healthy, summary.total

    def grant_slots(self) -> None:
        """Grant free slots to waiting requests; to be called when an account has changed."""
        if self._successor is not None:
            self._successor.grant_slots()
            return
        skipped: list[tuple[Hashable, _Waiter[S]]] = []
        while self.queue.size and self._choose():
            key, waiter = self.queue.pop()
            if waiter.lease.done():
                continue  # it was cancelled and is about to leave the queue
            if account := self._choose(waiter.prompt, waiter.without):
                waiter.lease.set_result(LocalLease(account, self, "chat", waiter.prompt))
            else:
                skipped.append((key, waiter))  # not for this prompt, or not the same account again
        for key, waiter in skipped:
            if waiter.without and not self._may_serve(waiter):
                waiter.lease.set_exception(busy_error("no other account can be used"))
            else:
                self._enqueue(key, waiter)
        if self.queue.size and (fault := no_account_error(self.accounts)):
            self._refuse_waiters(fault)
        self._restart_timer()

    def _may_serve(self, waiter: _Waiter[S]) -> bool:
        """Return whether an account that a request has not tried could serve it, once free."""
        others = (account for account in self.accounts if account.name not in waiter.without)
        return any(account.admits(waiter.prompt) for account in others)

    def _refuse_waiters(self, fault: GatewayError) -> None:
        """Refuse the requests that do not wait for the end of the pause of all accounts."""
        briefly = self._pauses_briefly(fault)
        for key, waiter in list(self.queue.clear()):
            if briefly and waiter.until_pause_ends:
                self._enqueue(key, waiter)
            elif not waiter.lease.done():
                waiter.lease.set_exception(copy_error(fault))

    def prompt_failed(self, prompt: Digest) -> None:
        """Ignore the failures of a prompt that has failed on every account; see `LeasePool`."""
        if self._successor is not None:
            self._successor.prompt_failed(prompt)
            return
        everywhere = len(self.accounts) > 1 and all(
            account.health.has_failed(prompt) for account in self.accounts
        )
        if not everywhere or prompt.value in self.forgiven:
            return
        if len(self.forgiven) < _MAX_FORGIVEN:
            self.forgiven.add(prompt.value)
            for account in self.accounts:
                account.health.forgive(prompt)

    def _choose(
        self,
        prompt: Digest | None = None,
        without: Sequence[str] = (),
        kind: CallKind = "chat",
        prefer: str | None = None,
    ) -> Account[S] | None:
        if kind == "chat":
            free = [a for a in self.accounts if a.busy < a.limit and a.admits(prompt)]
        else:
            free = [
                a
                for a in self.accounts
                if a.completions_busy < a.completion_limit and a.admits(prompt)
            ]
            free = [a for a in free if a.name == prefer] or free
        if without:
            free = [account for account in free if account.name not in without]
        if len(free) < 2:
            return free[0] if free else None
        return least_busy(free, half_open_first=self.budget.allows_retry)

    def _enqueue(self, key: Hashable, waiter: _Waiter[S]) -> None:
        """Add a waiter to the queue; the request that finds no room there is refused."""
        displaced = self.queue.push(key, waiter)
        if displaced is not None and not displaced.lease.done():
            displaced.lease.set_exception(busy_error("too many requests already wait"))

    def _remove_waiter(self, key: Hashable, waiter: _Waiter[S]) -> None:
        """Remove a waiter from the queue; if it got a slot meanwhile, release the slot."""
        lease = waiter.lease
        if self.queue.remove(key, waiter) or lease.cancelled() or not lease.done():
            return
        if lease.exception() is None:
            lease.result().release("unknown")

    def changed(self, account: Account[S], before: GatewayError | None) -> None:
        """See `LeasePool`."""
        if account.health.reason is not before:
            _log_change(account)
        if self.queue.size:
            self.grant_slots()

    def _pauses_briefly(self, fault: GatewayError) -> bool:
        """Return whether an account can be used again before a request has waited too long.

        fault: why none can be used now. A refused account needs the operator, so nobody waits.
        """
        if isinstance(fault, AccountRefused):
            return False
        return min(account.wait() for account in self.accounts) < self.queue_wait

    def _restart_timer(self) -> None:
        """Check the queue again when the next pause of an account ends, if requests wait."""
        self._stop_timer()
        if not self.queue.size or self._successor is not None:
            return
        waits = [wait for a in self.accounts if 0 < (wait := a.wait()) < math.inf]
        if waits:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(min(waits), 0.001), self.grant_slots)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _log_change(account: Account[S]) -> None:
    reason = account.health.reason
    if reason is None:
        _log.info("account_recovered", account=account.name)
        return
    dead = account.health.state == "dead"
    log = _log.error if dead else _log.warning
    log(
        "account_dead" if dead else "account_cooling",
        account=account.name,
        **reason.log_fields(),
        next_try_in=round(account.health.wait(), 1),
    )
