"""Whether the gateway still takes requests, and how many it is working on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.errors import Unavailable


class Lifecycle:
    """Counts the requests under way and turns new ones away once `drain` was called."""

    def __init__(self) -> None:
        self.draining = False
        self.active = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Around each request. Raises Unavailable (`draining`) when none is taken any more."""
        if self.draining:
            raise Unavailable(
                "The gateway is shutting down; please try again.", code="draining", retry_after=1.0
            )
        self.active += 1
        self._idle.clear()
        try:
            yield
        finally:
            self.active -= 1
            if not self.active:
                self._idle.set()

    async def drain(self, timeout: float) -> bool:
        """Take no new requests and wait for those under way; False when they outlast it."""
        self.draining = True
        try:
            async with asyncio.timeout(timeout):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
