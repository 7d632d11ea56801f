"""What a request needs of the accounts: a slot, wherever the pool is that lends it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from gateway.accounts.health import CallOutcome
from gateway.accounts.retry_budget import RetryBudget
from gateway.errors import GatewayError

S_co = TypeVar("S_co", covariant=True)


class LeasedAccount(Protocol[S_co]):
    """An account as the holder of its slot knows it."""

    @property
    def name(self) -> str: ...

    @property
    def session(self) -> S_co: ...


class Lease(Protocol[S_co]):
    """A slot that is held until it is given back by `release` or `end`; see `Lease`."""

    @property
    def account(self) -> LeasedAccount[S_co]: ...

    @property
    def probe(self) -> bool: ...

    def answered(self) -> None: ...

    def release(self, outcome: CallOutcome, error: GatewayError | None = None) -> None: ...

    def end(self, error: object) -> None: ...


class AccountPool(Protocol[S_co]):
    """A pool of accounts, this process's own or another's; see `Pool`."""

    @property
    def budget(self) -> RetryBudget: ...

    def take(self) -> Lease[S_co] | None:
        """A slot that can be had without waiting for anything; None when that is not known."""
        ...

    async def acquire(self, key: str | None, wait: float) -> Lease[S_co]: ...

    async def another(
        self, key: str | None, wait: float, tried: Sequence[str]
    ) -> Lease[S_co] | None: ...

    async def acquire_completion(self, prefer: str | None = None) -> Lease[S_co]: ...

    def fault(self) -> GatewayError | None: ...

    @property
    def serving(self) -> tuple[int, int]:
        """How many accounts could serve a request now, and how many there are."""
        ...
