"""Limits how many large bodies are in memory at once, in all and for each caller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class _CallerPlaces:
    free: asyncio.Semaphore
    users: int = 0  # bodies that have or wait for a place


class BodyPlaces:
    """Grants places in the order they were asked for.

    total: how many places there are. A caller has at most half of them, so that its uploads do
        not keep others out.
    """

    def __init__(self, total: int) -> None:
        self._free = asyncio.Semaphore(total)
        self._per_caller = max(1, total // 2)
        self._callers: dict[str, _CallerPlaces] = {}

    @asynccontextmanager
    async def place(self, caller: str) -> AsyncIterator[None]:
        """Hold a place while the context lasts; entering it waits for one."""
        own = self._callers.get(caller)
        if own is None:
            own = _CallerPlaces(asyncio.Semaphore(self._per_caller))
            self._callers[caller] = own
        own.users += 1
        try:
            async with own.free, self._free:
                yield
        finally:
            own.users -= 1
            if not own.users:
                del self._callers[caller]
