"""The pool: an account for each request, a place in line when all are busy."""

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

_BUSY_RETRY = 5.0  # seconds; slots are held for as long as answers take, which nobody knows


@dataclass(frozen=True, slots=True)
class PoolSummary:
    """How the pool is: accounts that serve and all there are, open answers, requests in line."""

    healthy: int
    total: int
    streams: int
    queued: int


class LocalPool(Generic[S]):
    """Several accounts as one.

    queue_length: requests that may wait at once; the next one is refused. They take turns by
        key.
    retry_ratio: calls beyond the first that are allowed for each request, on the average.
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
        self.line: FairQueue[asyncio.Future[LocalLease[S]]] = FairQueue(queue_length)
        self.lease_number = 0  # of the lease that was given last
        self._timer: asyncio.TimerHandle | None = None
        self._successor: LocalPool[S] | None = None

    def take_over(self, former: LocalPool[S]) -> None:
        """Go on where a former pool is: other settings, the same slots, line and budget.

        Accounts of the same identity are the former ones, with what is open and known of them.
        Who waits in line keeps the place; slots that are still out come back to this pool.
        """
        known = {account.identity: account for account in former.accounts}
        self.accounts = tuple(
            known[account.identity].renewed(account) if account.identity in known else account
            for account in self.accounts
        )
        former.line.length, self.line = self.line.length, former.line
        former.budget.ratio, self.budget = self.budget.ratio, former.budget
        self.lease_number = former.lease_number
        former._disarm()
        former._successor = self
        self.look()

    def take(self, *, without: Sequence[str] = ()) -> LocalLease[S] | None:
        """A slot that is free now and that nobody waits for; None when there is none.

        without: names of accounts that are not to serve.
        """
        account = None if self.line.size else self._choose(without)
        return None if account is None else LocalLease(account, self, "chat")

    def take_completion(self, prefer: str | None = None) -> LocalLease[S]:
        """A slot for a small call, with the account of this name if it has one.

        Small calls wait for nothing and have slots of their own, so that chats and they do
        not keep each other out. Raises what keeps every account from serving.
        """
        account = self._choose(kind="completion", prefer=prefer)
        if account is None:
            raise self._fault() or _overloaded_error("code completions do not wait")
        return LocalLease(account, self, "completion")

    async def acquire_completion(self, prefer: str | None = None) -> LocalLease[S]:
        """The same, in the form that `Slots` wants."""
        return self.take_completion(prefer)

    async def another(
        self, key: Hashable, wait: float, tried: Sequence[str]
    ) -> LocalLease[S] | None:
        """A slot of an account that was not tried yet, if need be after a wait in line.

        None when all others are busy and the one that was tried last may be what comes free
        first. Raises like `acquire`.
        """
        if lease := self.take(without=tried):
            return lease
        if any(account.name == tried[-1] and account.admits() for account in self.accounts):
            return None
        return await self.acquire(key, wait)

    async def acquire(self, key: Hashable, wait: float) -> LocalLease[S]:
        """A slot, when it is this key's turn, after at most `wait` seconds.

        Raises what keeps every account from serving, as soon as that is known, and
        Unavailable (`server_is_overloaded`) when the line is too long or too slow. A caller
        that is cancelled leaves the line at once.
        """
        if lease := self.take():
            return lease
        if fault := self._fault():
            raise fault
        waiter: asyncio.Future[LocalLease[S]] = asyncio.get_running_loop().create_future()
        displaced = self.line.push(key, waiter)
        if displaced is waiter:
            raise _overloaded_error("too many requests wait for one already")
        if displaced is not None and not displaced.done():
            displaced.set_exception(_overloaded_error("too many requests wait for one already"))
        self._arm()
        try:
            async with asyncio.timeout(wait):
                return await waiter
        except TimeoutError:
            self._leave(key, waiter)
            raise _overloaded_error("none became free in time") from None
        except asyncio.CancelledError:
            self._leave(key, waiter)
            raise

    def fault(self) -> GatewayError | None:
        """Why no request can be served now; None when one can, perhaps after a wait in line."""
        if any(account.ready and not account.wait() for account in self.accounts):
            return None
        faults = [account.session.fault for account in self.accounts]
        known = next((fault.message for fault in faults if fault), None)
        return self._fault() or Unavailable(known or "The login to Fitten has not been made yet.")

    def summary(self) -> PoolSummary:
        """How the pool is, in numbers."""
        return PoolSummary(
            healthy=sum(account.ready and account.state == "healthy" for account in self.accounts),
            total=len(self.accounts),
            streams=sum(account.busy for account in self.accounts),
            queued=self.line.size,
        )

    @property
    def serving(self) -> tuple[int, int]:
        """How many accounts could serve a request now, and how many there are."""
        summary = self.summary()
        return summary.healthy, summary.total

    def look(self) -> None:
        """Something about an account has changed: see who can be served by now."""
        if self._successor is not None:
            self._successor.look()
            return
        while self.line.size and (account := self._choose()):
            waiter = self.line.pop()
            if not waiter.done():  # else it is about to leave
                waiter.set_result(LocalLease(account, self, "chat"))
        if self.line.size and (fault := self._fault()):
            for waiter in self.line.clear():
                if not waiter.done():
                    waiter.set_exception(_copy(fault))
        self._arm()

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
        return least_busy(free, may_risk=self.budget.left)

    def _leave(self, key: Hashable, waiter: asyncio.Future[LocalLease[S]]) -> None:
        """A waiter goes; a slot that it was given meanwhile comes back."""
        if self.line.remove(key, waiter) or waiter.cancelled() or not waiter.done():
            return
        if waiter.exception() is None:
            waiter.result().release("unknown")

    def changed(self, account: Account[S], before: GatewayError | None) -> None:
        """A slot came back. before: why the account was out of use until then."""
        if account.health.reason is not before:
            _log_change(account)
        if self.line.size:
            self.look()

    def _fault(self) -> GatewayError | None:
        """Why every account is out of use, if they are."""
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
        later = soonest * random.uniform(1.0, 1.2)  # so that not all come back at once
        if isinstance(account.reason, RateLimited):
            return RateLimited(
                account.reason.message, code="upstream_rate_limited", retry_after=later
            )
        why = account.reason.message if account.reason else "Fitten fails; please try again."
        return Unavailable(
            f"No account of the gateway can be used for a moment: {why}", retry_after=later
        )

    def _arm(self) -> None:
        """Look again when the next account is back, as long as somebody waits for one."""
        self._disarm()
        if not self.line.size or self._successor is not None:
            return
        waits = [wait for a in self.accounts if 0 < (wait := a.wait()) < math.inf]
        if waits:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(min(waits), 0.001), self.look)

    def _disarm(self) -> None:
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
    """One exception for each waiter: a traceback belongs to one."""
    return type(error)(
        error.message, code=error.code, retryable=error.retryable, retry_after=error.retry_after
    )


def _overloaded_error(why: str) -> Unavailable:
    return Unavailable(
        f"All accounts of the gateway are busy and {why}; please try again.",
        code="server_is_overloaded",
        retry_after=_BUSY_RETRY * random.uniform(1.0, 1.2),
    )
