"""Whether the gateway still takes requests, and those that it is working on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.errors import Unavailable

_CANCEL_TIMEOUT = 1.0  # seconds


class InFlightRequests:
    """Counts the requests under way and turns new ones away once `interrupt` was called.

    closing: the end was asked for, so that answers close their connection.
    interrupted: it is here.
    """

    def __init__(self) -> None:
        self.closing = False
        self.interrupted = False
        self._tasks: set[asyncio.Task[object]] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Around each request. Raises Unavailable (`draining`) when none is taken any more."""
        if self.interrupted:
            raise draining_error()
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

    async def interrupt(self) -> None:
        """Take nothing more and cancel what is under way; streams may say why they end."""
        self.interrupted = True
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CANCEL_TIMEOUT):
                await self._idle.wait()


def draining_error() -> Unavailable:
    """What a caller is told while the gateway shuts down."""
    return Unavailable(
        "The gateway is shutting down; please try again.", code="draining", retry_after=1.0
    )
