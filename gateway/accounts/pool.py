"""Implements the pool: it gives each request an account, or queues it while all are busy."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic

import structlog

from gateway.accounts.account import Account, CallKind, LocalLease, S
from gateway.accounts.fair_queue import FairQueue
from gateway.accounts.retry_budget import RetryBudget
from gateway.accounts.selection_policy import least_busy
from gateway.errors import AccountRefused, GatewayError, RateLimited, Unavailable

_log = structlog.get_logger("accounts")

# Seconds after which a refused client may try again. This is a guess: a slot is held as long as
# an answer takes.
_BUSY_RETRY = 5.0


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
    """

    def __init__(
        self,
        accounts: Sequence[Account[S]],
        *,
        queue_length: int,
        retry_ratio: float,
    ) -> None:
        self.accounts = tuple(accounts)
        self.budget = RetryBudget(retry_ratio)
        self.queue: FairQueue[asyncio.Future[LocalLease[S]]] = FairQueue(queue_length)
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
        self.lease_number = former.lease_number
        former._stop_timer()
        former._successor = self
        self.grant_slots()

    def take(self, *, without: Sequence[str] = ()) -> LocalLease[S] | None:
        """Return a free slot; None if there is none or if other requests wait for it.

        without: names of accounts that must not be used.
        """
        account = None if self.queue.size else self._choose(without)
        return None if account is None else LocalLease(account, self, "chat")

    def take_completion(self, prefer: str | None = None) -> LocalLease[S]:
        """Return a slot for a code completion.

        Completions never wait. They have slots of their own, so that chats and completions do
        not block each other. Raises a GatewayError when no account can serve.

        prefer: the name of the account to use if it has a free slot.
        """
        account = self._choose(kind="completion", prefer=prefer)
        if account is None:
            raise self._no_account_error() or _overloaded_error("code completions do not wait")
        return LocalLease(account, self, "completion")

    async def acquire_completion(self, prefer: str | None = None) -> LocalLease[S]:
        """Call `take_completion`; async, as `AccountPool` requires."""
        return self.take_completion(prefer)

    async def acquire_other(
        self, key: Hashable, wait: float, tried: Sequence[str]
    ) -> LocalLease[S] | None:
        """Return a slot of an account that was not tried yet, after a wait if necessary.

        Returns None when all others are busy and the last tried account may be used: its slot
        may become free first. Raises like `acquire`.

        tried: names of the accounts that were tried, at least one, the last one last.
        """
        if lease := self.take(without=tried):
            return lease
        if any(account.name == tried[-1] and account.admits() for account in self.accounts):
            return None
        return await self.acquire(key, wait)

    async def acquire(self, key: Hashable, wait: float) -> LocalLease[S]:
        """Return a slot, after at most `wait` seconds in the queue.

        Raises a GatewayError as soon as no account can serve, and Unavailable
        (`server_is_overloaded`) when the queue is full or `wait` is over. Cancelling leaves
        the queue at once.

        key: the caller; callers are served in turn.
        """
        if lease := self.take():
            return lease
        if fault := self._no_account_error():
            raise fault
        waiter: asyncio.Future[LocalLease[S]] = asyncio.get_running_loop().create_future()
        displaced = self.queue.push(key, waiter)
        if displaced is waiter:
            raise _overloaded_error("too many requests already wait")
        if displaced is not None and not displaced.done():
            displaced.set_exception(_overloaded_error("too many requests already wait"))
        self._restart_timer()
        try:
            async with asyncio.timeout(wait):
                return await waiter
        except TimeoutError:
            self._remove_waiter(key, waiter)
            raise _overloaded_error("none became free in time") from None
        except asyncio.CancelledError:
            self._remove_waiter(key, waiter)
            raise

    def fault(self) -> GatewayError | None:
        """Return why no request can be served now; None if one can, perhaps after a wait."""
        if any(account.ready and not account.wait() for account in self.accounts):
            return None
        faults = [account.session.fault for account in self.accounts]
        known = next((fault.message for fault in faults if fault), None)
        return self._no_account_error() or Unavailable(
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
        while self.queue.size and (account := self._choose()):
            waiter = self.queue.pop()
            if not waiter.done():  # else it was cancelled and is about to leave the queue
                waiter.set_result(LocalLease(account, self, "chat"))
        if self.queue.size and (fault := self._no_account_error()):
            for waiter in self.queue.clear():
                if not waiter.done():
                    waiter.set_exception(_copy(fault))
        self._restart_timer()

    def _choose(
        self,
        without: Sequence[str] = (),
        kind: CallKind = "chat",
        prefer: str | None = None,
    ) -> Account[S] | None:
        if kind == "chat":
            free = [a for a in self.accounts if a.busy < a.limit and a.admits()]
        else:
            free = [
                a for a in self.accounts if a.completions_busy < a.completion_limit and a.admits()
            ]
            free = [a for a in free if a.name == prefer] or free
        if without:
            free = [account for account in free if account.name not in without]
        if len(free) < 2:
            return free[0] if free else None
        return least_busy(free, half_open_first=self.budget.allows_retry)

    def _remove_waiter(self, key: Hashable, waiter: asyncio.Future[LocalLease[S]]) -> None:
        """Remove a waiter from the queue; if it got a slot meanwhile, release the slot."""
        if self.queue.remove(key, waiter) or waiter.cancelled() or not waiter.done():
            return
        if waiter.exception() is None:
            waiter.result().release("unknown")

    def changed(self, account: Account[S], before: GatewayError | None) -> None:
        """See `LeasePool`."""
        if account.health.reason is not before:
            _log_change(account)
        if self.queue.size:
            self.grant_slots()

    def _no_account_error(self) -> GatewayError | None:
        """Return why no account can be used; None if one can."""
        waits = [account.wait() for account in self.accounts]
        soonest = min(waits)
        if soonest == 0:
            return None
        account = self.accounts[waits.index(soonest)]
        if soonest == math.inf:
            reason = account.reason
            message = reason.message if reason else "No account of the gateway can be used."
            return AccountRefused(message)
        if account.state == "dead":
            reason = account.reason
            return AccountRefused(
                reason.message if reason else "Fitten refuses the account.", retry_after=soonest
            )
        later = soonest * random.uniform(1.0, 1.2)  # so that not all clients retry at once
        if isinstance(account.reason, RateLimited):
            return RateLimited(
                account.reason.message, code="upstream_rate_limited", retry_after=later
            )
        why = account.reason.message if account.reason else "Fitten fails; please try again."
        return Unavailable(
            f"No account of the gateway can be used at the moment: {why}", retry_after=later
        )

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
        code=reason.code,
        reason=reason.message,
        next_try_in=round(account.health.wait(), 1),
    )


def _copy(error: GatewayError) -> GatewayError:
    """Copy an error, since each waiter needs an exception with a traceback of its own."""
    return type(error)(
        error.message, code=error.code, retryable=error.retryable, retry_after=error.retry_after
    )


def _overloaded_error(why: str) -> Unavailable:
    return Unavailable(
        f"All accounts of the gateway are busy and {why}; please try again.",
        code="server_is_overloaded",
        retry_after=_BUSY_RETRY * random.uniform(1.0, 1.2),
    )
