"""Defines one account (session, slots, health) and the lease of one of its slots."""

from __future__ import annotations

import math
from typing import Any, Generic, Literal, Protocol, TypeVar

from gateway.accounts.fair_queue import FairQueue
from gateway.accounts.health import CallOutcome, Health, HealthState, outcome_of
from gateway.accounts.prompt_digest import Digest
from gateway.errors import AccountRefused, GatewayError, Unavailable


class AccountSession(Protocol):
    """Describes what the pool needs of an account's session with the upstream."""

    @property
    def ready(self) -> bool:
        """Return whether the session could serve a request at once."""
        ...

    @property
    def fault(self) -> GatewayError | None:
        """Return why the last login failed; None if it did not."""
        ...

    def blocked(self) -> float:
        """Return the seconds until a request may start a new login: 0 now, `inf` never."""
        ...


S = TypeVar("S", bound=AccountSession)

CallKind = Literal["chat", "completion"]

AccountCondition = HealthState | Literal["paused"]
"""How an account is: as its calls and its session say, or paused by an admin."""


class Account(Generic[S]):
    """Holds one account: its session, its health, and how many of its slots are busy.

    limit: chats that may run at once.
    completion_limit: code completions that may run at once, beside the chats.
    identity: identifies the account across configurations; its name unless given.

    busy, completions_busy: slots in use.
    lease_number: the number of its newest lease, 0 for none. The least recently used account
        has the lowest number.
    """

    def __init__(
        self,
        name: str,
        session: S,
        health: Health,
        *,
        limit: int,
        completion_limit: int,
        identity: str | None = None,
    ) -> None:
        self.name = name
        self.identity = identity or name
        self.session = session
        self.health = health
        self.limit = limit
        self.completion_limit = completion_limit
        self.busy = 0
        self.completions_busy = 0
        self.lease_number = 0
        # Monotonic seconds; None unless an admin has paused it. A reload keeps it, since the pool
        # keeps the object.
        self._paused_until: float | None = None

    def updated_from(self, other: Account[S]) -> Account[S]:
        """Take the settings and the session of another object of this account; return self."""
        self.session, self.limit, self.completion_limit = (
            other.session,
            other.limit,
            other.completion_limit,
        )
        self.health.copy_settings(other.health)
        return self

    def pause(self, seconds: float | None) -> None:
        """Stop new calls for so many seconds, None for until `resume`; open ones go on."""
        self._paused_until = math.inf if seconds is None else self.health.now() + seconds

    def resume(self) -> None:
        """End the pause of `pause`."""
        self._paused_until = None

    def pause_left(self) -> float:
        """Return the seconds until the pause of an admin ends; 0 for none, `inf` for no end."""
        if self._paused_until is None:
            return 0.0
        left = self._paused_until - self.health.now()
        if left <= 0:
            self._paused_until = None
        return max(0.0, left)

    @property
    def state(self) -> AccountCondition:
        """Return the state of the account; a blocked session counts before the calls' results."""
        if self._paused_until is not None and self.pause_left():
            return "paused"
        blocked = self.session.blocked()
        if blocked == 0:
            return self.health.state
        return "dead" if isinstance(self.session.fault, AccountRefused) else "cooling"

    @property
    def reason(self) -> GatewayError | None:
        """Return why the account is not healthy; None if it is."""
        if self._paused_until is not None and self.pause_left():
            return Unavailable("An administrator of this gateway has paused the account.")
        return self.session.fault if self.session.blocked() else self.health.reason

    @property
    def ready(self) -> bool:
        """Return whether a call could begin without a login."""
        return self.session.ready

    @property
    def half_open(self) -> bool:
        """Return whether the next call is the probe that tests if the account works again."""
        return self.health.state == "half_open"

    def wait(self) -> float:
        """Return the seconds until the account may be used; `inf` if no time is known."""
        return max(self.session.blocked(), self.health.wait(), self.pause_left())

    def admits(self, prompt: Digest | None = None) -> bool:
        """Return whether a call with this prompt may begin now, if there is a free slot."""
        if self._paused_until is not None and self.pause_left():
            return False
        health = self.health
        return (health.reason is None or health.admits(prompt)) and not self.session.blocked()

    def __repr__(self) -> str:
        return f"<Account {self.name} {self.state} {self.busy}/{self.limit}>"


class LeasePool(Protocol[S]):
    """Describes what a lease needs of the pool that granted it.

    lease_number: the number of the newest lease.
    forgiven: digests of prompts that failed on every account since an account last served one.
    """

    lease_number: int
    forgiven: set[bytes]
    queue: FairQueue[Any]

    def prompt_failed(self, prompt: Digest) -> None:
        """Handle a call that failed, perhaps because of its prompt."""
        ...

    def changed(self, account: Account[S], before: GatewayError | None) -> None:
        """Handle a released slot, or an answered probe.

        before: why the account could not be used until now; None if it could.
        """
        ...


class LocalLease(Generic[S]):
    """Holds a slot of an account until `release` or `end` is called.

    probe: whether the call tests a half-open account and has not been answered yet.
    """

    __slots__ = ("_kind", "_open", "_pool", "_prompt", "account", "probe")

    def __init__(
        self,
        account: Account[S],
        pool: LeasePool[S],
        kind: CallKind,
        prompt: Digest | None = None,
    ) -> None:
        self.account = account
        self._prompt = prompt
        self._pool = pool
        self._kind = kind
        self._open = True
        pool.lease_number += 1
        account.lease_number = pool.lease_number
        if kind == "chat":
            account.busy += 1
        else:
            account.completions_busy += 1
        self.probe = account.health.reason is not None and account.health.begin()

    def answered(self) -> None:
        """Record that the upstream began to answer."""
        if self.probe:
            before = self.account.health.reason
            self.probe = False
            self.account.health.answered()
            self._pool.changed(self.account, before)

    def release(
        self,
        outcome: CallOutcome,
        error: GatewayError | None = None,
        prompt: Digest | None = None,
    ) -> None:
        """Release the slot and report the outcome of the call; a second time changes nothing.

        error: why the account may pause. With "limited" its `retry_after` is the pause.
        prompt: of the call, if it was not known when the slot was granted.
        """
        if not self._open:
            return
        self._prompt = self._prompt or prompt
        self._open = False
        account = self.account
        if self._kind == "chat":
            account.busy -= 1
        else:
            account.completions_busy -= 1
        health = account.health
        before = health.reason
        if outcome != "good" or not health.no_failures:
            health.end(outcome, probe=self.probe, error=error, prompt=self._prompt)
        if outcome == "good":
            if self._pool.forgiven:
                self._pool.forgiven.clear()
        elif outcome == "bad" and self._prompt is not None:
            self._pool.prompt_failed(self._prompt)
        if health.reason is not before or self._pool.queue.size:
            self._pool.changed(account, before)

    def end(self, error: object) -> None:
        """Release the slot after a call that ended with this error; None means success."""
        if error is None:
            self.release("good")
        else:
            self.release(outcome_of(error), error if isinstance(error, GatewayError) else None)
