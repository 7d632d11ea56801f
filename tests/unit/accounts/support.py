"""Accounts for the tests of the pool: a clock and sessions that the test controls."""

from __future__ import annotations

import asyncio
import math
from typing import Any

from gateway.accounts.account import Account
from gateway.accounts.health import Health
from gateway.accounts.pool import LocalPool
from gateway.errors import AccountRefused, GatewayError


class PoolClock:
    """Monotonic seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeSession:
    """A session whose state the test sets."""

    def __init__(self) -> None:
        self.ready = True
        self.fault: GatewayError | None = None

    def blocked(self) -> float:
        if self.ready or self.fault is None:
            return 0.0
        return math.inf if isinstance(self.fault, AccountRefused) else 1.0

    def refuse(self) -> None:
        self.ready, self.fault = False, AccountRefused("wrong password")

    def recover(self) -> None:
        self.ready, self.fault = True, None


def make_pool(
    *limits: int,
    clock: PoolClock | None = None,
    failures: int = 5,
    pause: float = 5.0,
    queue_length: int = 10,
    retry_ratio: float = 0.2,
    completion_limit: int = 2,
    queue_wait: float = 0.0,
) -> LocalPool[Any]:
    """Return a pool with accounts a, b, c ... that have these numbers of slots."""
    clock = clock or PoolClock()
    accounts = [
        Account(
            name,
            FakeSession(),
            Health(failures=failures, pause=pause, clock=clock),
            limit=limit,
            completion_limit=completion_limit,
        )
        for name, limit in zip("abcdefgh", limits, strict=False)
    ]
    return LocalPool(
        accounts, queue_length=queue_length, retry_ratio=retry_ratio, queue_wait=queue_wait
    )


class ManualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is a clock that the test sets."""

    def __init__(self, clock: PoolClock) -> None:
        super().__init__()
        self._manual = clock

    def time(self) -> float:
        return self._manual.now

    def settle(self) -> None:
        """Run what can run without time passing."""
        for _ in range(6):
            self.call_soon(self.stop)
            self.run_forever()
