"""One account: its session, its slots, its health; and the slot that a request holds."""

from __future__ import annotations

from typing import Any, Generic, Literal, Protocol, TypeVar

from gateway.accounts.fair_queue import FairQueue
from gateway.accounts.health import CallOutcome, Health, HealthState, outcome_of
from gateway.errors import AccountRefused, GatewayError


class AccountSession(Protocol):
    """What the pool has to know of an account's session with the upstream."""

    @property
    def ready(self) -> bool:
        """Whether it could serve a request at once."""
        ...

    @property
    def fault(self) -> GatewayError | None:
        """Why it could not, if a try has failed."""
        ...

    def blocked(self) -> float:
        """Seconds until a request may make it try again: 0 for at once, `inf` for never."""
        ...


S = TypeVar("S", bound=AccountSession)

CallKind = Literal["chat", "completion"]


class Account(Generic[S]):
    """One account. limit: the most chats at once; small_limit: of small calls, apart.

    identity: what tells it from others, also in other settings; its name unless given.
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

    def renewed(self, other: Account[S]) -> Account[S]:
        """Itself, with the settings and the session of another object of this account."""
        self.session, self.limit, self.completion_limit = (
            other.session,
            other.limit,
            other.completion_limit,
        )
        self.health.adopt(other.health)
        return self

    @property
    def state(self) -> HealthState:
        """What may be told of it: the session's state comes before the calls'."""
        blocked = self.session.blocked()
        if blocked == 0:
            return self.health.state
        return "dead" if isinstance(self.session.fault, AccountRefused) else "cooling"

    @property
    def reason(self) -> GatewayError | None:
        """Why it is not healthy."""
        return self.session.fault if self.session.blocked() else self.health.reason

    @property
    def ready(self) -> bool:
        """Whether its session needs nothing before a call."""
        return self.session.ready

    @property
    def on_trial(self) -> bool:
        """Whether the next call is the one that tells if it is well again."""
        return self.health.state == "half_open"

    def wait(self) -> float:
        """Seconds until it may be used, as far as that is known; `inf` when it is not."""
        return max(self.session.blocked(), self.health.wait())

    def admits(self) -> bool:
        """Whether a call may begin now, slots aside."""
        health = self.health
        return (health.reason is None or health.admits()) and not self.session.blocked()

    def __repr__(self) -> str:
        return f"<Account {self.name} {self.state} {self.busy}/{self.limit}>"


class Lender(Protocol[S]):
    """The pool, as a lease knows it."""

    lease_number: int
    line: FairQueue[Any]

    def changed(self, account: Account[S], before: GatewayError | None) -> None:
        """A slot came back. before: why the account was out of use until then."""
        ...


class LocalLease(Generic[S]):
    """An account's slot, held until it is given back by `release` or `end`.

    probe: whether the call is the one that tries a half open account.
    """

    __slots__ = ("_kind", "_lender", "_open", "account", "probe")

    def __init__(self, account: Account[S], lender: Lender[S], kind: CallKind) -> None:
        self.account = account
        self._lender = lender
        self._kind = kind
        self._open = True
        lender.lease_number += 1
        account.lease_number = lender.lease_number
        if kind == "chat":
            account.busy += 1
        else:
            account.completions_busy += 1
        self.probe = account.health.reason is not None and account.health.begin()

    def answered(self) -> None:
        """The upstream began to answer."""
        if self.probe:
            before = self.account.health.reason
            self.probe = False
            self.account.health.answered()
            self._lender.changed(self.account, before)

    def release(self, outcome: CallOutcome, error: GatewayError | None = None) -> None:
        """Give the slot back and say what came of it; a second time changes nothing.

        error: for "limited" how long the account is limited, and what callers are told.
        """
        if not self._open:
            return
        self._open = False
        account = self.account
        if self._kind == "chat":
            account.busy -= 1
        else:
            account.completions_busy -= 1
        health = account.health
        before = health.reason
        if outcome != "good" or not health.calm:
            health.end(outcome, probe=self.probe, error=error)
        if health.reason is not before or self._lender.line.size:
            self._lender.changed(account, before)

    def end(self, error: object) -> None:
        """Give the slot back after a call that ended with this error, or well with None."""
        if error is None:
            self.release("good")
        else:
            self.release(outcome_of(error), error if isinstance(error, GatewayError) else None)
