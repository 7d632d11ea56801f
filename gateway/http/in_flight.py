"""Tracks the requests in flight, and refuses new ones while the gateway stops."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.errors import Unavailable

_CANCEL_TIMEOUT = 1.0  # seconds


class InFlightRequests:
    """Counts the requests in flight, and refuses new ones after `interrupt`.

    closing: the process is draining; each answer closes its connection.
    interrupted: the time to drain is over; requests are cancelled and refused.
    """

    def __init__(self) -> None:
        self.closing = False
        self.interrupted = False
        self._tasks: set[asyncio.Task[object]] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Track a request while the context lasts.

        Raises Unavailable (`draining`) after `interrupt`.
        """
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
        """Return how many requests are in flight."""
        return len(self._tasks)

    async def interrupt(self) -> None:
        """Refuse new requests, cancel those in flight and wait up to a second for their end.

        A stream may still send the error that says why it ends.
        """
        self.interrupted = True
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CANCEL_TIMEOUT):
                await self._idle.wait()


def draining_error() -> Unavailable:
    """Return the error for requests that come while the gateway shuts down."""
    return Unavailable(
        "The gateway is shutting down; please try again.", code="draining", retry_after=1.0
    )
