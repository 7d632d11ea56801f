"""Defines what a request needs of the accounts: leases, and a pool that grants them.

The pool may be in this process (`LocalPool`) or in the master of the workers (`RemotePool`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from gateway.accounts.health import CallOutcome
from gateway.accounts.prompt_digest import Digest
from gateway.accounts.retry_budget import RetryBudget
from gateway.errors import GatewayError

S_co = TypeVar("S_co", covariant=True)


class LeasedAccount(Protocol[S_co]):
    """Describes an account to the request that holds one of its slots."""

    @property
    def name(self) -> str: ...

    @property
    def session(self) -> S_co: ...


class Lease(Protocol[S_co]):
    """Describes a slot that is held until `release` or `end` is called; see `LocalLease`."""

    @property
    def account(self) -> LeasedAccount[S_co]: ...

    @property
    def probe(self) -> bool: ...

    def answered(self) -> None: ...

    def release(self, outcome: CallOutcome, error: GatewayError | None = None) -> None: ...

    def end(self, error: object) -> None: ...


class AccountPool(Protocol[S_co]):
    """Describes a pool of accounts, in this process or another; see `LocalPool`."""

    @property
    def budget(self) -> RetryBudget: ...

    def take(self, prompt: Digest | None = None) -> Lease[S_co] | None:
        """Return a slot that is free now; None if there is none, or if that is not known."""
        ...

    async def acquire(
        self, key: str | None, wait: float, prompt: Digest | None = None
    ) -> Lease[S_co]: ...

    async def acquire_other(
        self, key: str | None, wait: float, tried: Sequence[str], prompt: Digest | None = None
    ) -> Lease[S_co] | None: ...

    async def acquire_completion(
        self, prefer: str | None = None, prompt: Digest | None = None
    ) -> Lease[S_co]: ...

    def fault(self) -> GatewayError | None: ...

    @property
    def serving(self) -> tuple[int, int]:
        """Return how many accounts could serve a request now, and how many there are."""
        ...
