"""Whether the gateway still takes requests, and how many it is working on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.errors import Unavailable

_LAST_WORDS = 1.0  # seconds


class Lifecycle:
    """Counts the requests under way and turns new ones away once `drain` was called.

    closing: it is about to end, so that answers close their connection.
    """

    def __init__(self) -> None:
        self.closing = False
        self.draining = False
        self.interrupted = False
        self._tasks: set[asyncio.Task[object]] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Around each request. Raises Unavailable (`draining`) when none is taken any more."""
        if self.draining:
            raise draining()
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._idle.clear()
        try:
            yield
        finally:
            self._tasks.discard(task)
            if not self._tasks:
                self._idle.set()

    @property
    def active(self) -> int:
        """How many requests are under way."""
        return len(self._tasks)

    async def drain(self, timeout: float) -> bool:
        """Take no new requests and wait for those under way; False when they outlast it."""
        self.closing = self.draining = True
        try:
            async with asyncio.timeout(timeout):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def interrupt(self) -> None:
        """Cancel what is under way; streams have a moment to say why they end."""
        self.interrupted = True
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                await self._idle.wait()


def draining() -> Unavailable:
    """What a caller is told while the gateway shuts down."""
    return Unavailable(
        "The gateway is shutting down; please try again.", code="draining", retry_after=1.0
    )
