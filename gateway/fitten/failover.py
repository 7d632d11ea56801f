"""Makes a call with an account of the pool, and with another account if that one fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import structlog

from gateway.accounts.interface import AccountPool, Lease
from gateway.accounts.prompt_digest import Digest
from gateway.config.settings import PoolSettings
from gateway.errors import AccountRefused, GatewayError, UpstreamUnauthorized
from gateway.fitten.auth.reauthenticate import TokenSource, call_with_tokens
from gateway.fitten.deadline import Deadline, timeout_error
from gateway.fitten.http.response_body import ResponseBody
from gateway.generation.request import Generation
from gateway.store.token_file import Tokens

_log = structlog.get_logger("fitten")

_Result = TypeVar("_Result")
_REPLY_MARGIN = 0.05  # seconds before the deadline that are kept for the answer to the client
_MAX_TRIES = 3  # accounts that one request tries

Call = Callable[[Tokens], Awaitable[ResponseBody]]


@dataclass(slots=True)
class _Attempts:
    """Makes the calls of one request and releases the slots of those that fail.

    count: how many calls were made. tried: the names of the accounts that failed.
    at_session: whether an error that occurs now comes from the session, not from the call.
    """

    call: Call
    count: int = 0
    tried: list[str] = field(default_factory=list)
    at_session: bool = True

    def begin(self, lease: Lease[TokenSource]) -> Awaitable[ResponseBody]:
        """Return the response that the account of this lease gets."""
        self.at_session = True
        return call_with_tokens(lease.account.session, self._make_call)

    def end(self, lease: Lease[TokenSource], error: GatewayError | None) -> None:
        """Release the slot after a failure. error: why; None if the account is not the reason."""
        self.tried.append(lease.account.name)
        if error is None or (self.at_session and not isinstance(error, AccountRefused)):
            lease.release("unknown")  # a session pauses by itself
        else:
            lease.end(error)

    async def _make_call(self, tokens: Tokens) -> ResponseBody:
        self.at_session = False
        self.count += 1
        try:
            return await self.call(tokens)
        except UpstreamUnauthorized:
            self.at_session = True
            raise


class Failover:
    """Makes calls with the accounts of a pool."""

    def __init__(self, pool: AccountPool[TokenSource], settings: PoolSettings) -> None:
        self._pool = pool
        self._settings = settings

    async def open(
        self, call: Call, prompt: Digest, generation: Generation, deadline: Deadline
    ) -> tuple[ResponseBody, Lease[TokenSource]]:
        """Return the response to a call, its body not read, and the lease of its slot.

        prompt: what identifies the prompt of the call when it fails.

        The caller closes the response and releases the lease. Waits in the queue while all
        accounts are busy. Another account is asked only when the failed call had no effect and
        the retry budget allows it; the client has received nothing yet. All of it ends at the
        deadline, and this is the only place that enforces it. Raises a GatewayError.
        """
        budget, outcome = self._pool.budget, generation.outcome
        try:
            async with asyncio.timeout_at(deadline.at) as timeout:
                attempts = _Attempts(call)
                budget.earn()
                lease = self._pool.take(prompt)
                if lease is None:
                    acquire = partial(self._pool.acquire, prompt=prompt)
                    lease = await self._wait(acquire, generation, deadline)
                while True:
                    outcome.try_account(lease.account.name)
                    try:
                        body = await attempts.begin(lease)
                        if lease.probe:
                            lease.answered()
                    except GatewayError as error:
                        attempts.end(lease, error)
                        lease = await self._another(error, attempts, prompt, generation, deadline)
                    except BaseException:
                        attempts.end(lease, timeout_error() if timeout.expired() else None)
                        raise
                    else:
                        outcome.receive_status(200)  # the only status of an open chat
                        return body, lease
        except TimeoutError:
            raise timeout_error() from None

    async def _another(
        self,
        error: GatewayError,
        attempts: _Attempts,
        prompt: Digest,
        generation: Generation,
        deadline: Deadline,
    ) -> Lease[TokenSource]:
        """Return the lease of a slot of another account; raise the error if none may be tried.

        error: why the last account failed.
        """
        budget = self._pool.budget
        elsewhere = error.elsewhere or attempts.at_session
        if not elsewhere or len(attempts.tried) >= _MAX_TRIES or deadline.left <= 0:
            raise error
        if attempts.count and not budget.allows_retry:
            _log.info("no_other_account_asked", reason="the budget of repeats is used up")
            raise error
        acquire = partial(self._pool.acquire_other, tried=attempts.tried, prompt=prompt)
        try:
            lease = await self._wait(acquire, generation, deadline)
        except GatewayError:
            raise error from None
        if lease is None:
            raise error
        if attempts.count and not budget.spend():
            lease.release("unknown")
            raise error
        _log.info("another_account_asked", failed=attempts.tried[-1], **error.log_fields())
        return lease

    async def _wait(
        self,
        acquire: Callable[[str | None, float], Awaitable[_Result]],
        generation: Generation,
        deadline: Deadline,
    ) -> _Result:
        """Return what `acquire` returns, perhaps after a wait in the queue.

        acquire: gets the caller's key and the most seconds to wait.
        """
        left = deadline.left
        # Ends before the deadline: the error must say that the queue took long, not Fitten.
        wait = min(self._settings.queue_wait, left - _REPLY_MARGIN)
        try:
            return await acquire(generation.caller, wait)
        finally:
            generation.outcome.leave_queue(left - deadline.left)
