"""What the supervisor hears of a gateway at work: that its event loop turns, and how it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from gateway.server.systemd import SystemdNotifier

_log = structlog.get_logger("heartbeat")

_POLL = 1.0  # seconds
_EXTENSION = 10.0  # seconds, from each step of draining on


class ServiceNumbers(Protocol):
    """The numbers of a service."""

    @property
    def requests(self) -> int:
        """How many are under way."""
        ...

    @property
    def accounts(self) -> tuple[int, int]:
        """How many could serve a request now, and how many there are."""
        ...

    @property
    def workers(self) -> tuple[int, int] | None:
        """How many take requests, and how many there are to be; None without any."""
        ...


class StatusLine:
    """One line about a service.

    note: what else an operator should know, such as why a reload was refused.
    """

    def __init__(self, vitals: ServiceNumbers) -> None:
        self._vitals = vitals
        self.note = ""
        self._drain_until: float | None = None

    def draining(self, seconds: float) -> None:
        """From now on nothing new is taken, and all ends within so many seconds."""
        self._drain_until = asyncio.get_running_loop().time() + seconds

    def __call__(self) -> str:
        open_requests = f"{self._vitals.requests} requests open"
        if self._drain_until is not None:
            left = max(0.0, self._drain_until - asyncio.get_running_loop().time())
            return f"draining: {open_requests}, at most {left:.0f} s left"
        text = f"serving: {open_requests}, {_of(self._vitals.accounts)} accounts healthy"
        if workers := self._vitals.workers:
            text += f", {_of(workers)} workers"
        return f"{text}; {self.note}" if self.note else text


def _of(share: tuple[int, int]) -> str:
    return f"{share[0]} of {share[1]}"


async def keep_alive(supervisor: SystemdNotifier, status: Callable[[], str]) -> None:
    """Send the status as it changes and feed the watchdog; runs until cancelled.

    Fed from the event loop and only while it turns in time: a loop that is late at every
    look, by more than a quarter of what the watchdog allows, is to be restarted.
    """
    loop = asyncio.get_running_loop()
    watchdog = supervisor.watchdog
    step = min(_POLL, watchdog / 8) if watchdog else _POLL
    due = loop.time()
    while True:
        before = loop.time()
        if watchdog and before >= due:
            supervisor.alive()
            due = before + watchdog / 2 - step
        supervisor.status(status())
        while True:
            before = loop.time()
            await asyncio.sleep(step)
            late = loop.time() - before - step
            if not watchdog or late <= watchdog / 4:
                break
            _log.warning("event_loop_late", seconds=round(late, 3))


async def extend_stop_timeout(supervisor: SystemdNotifier) -> None:
    """Ask for patience as long as draining takes; runs until cancelled."""
    while True:
        supervisor.extend(_EXTENSION)
        await asyncio.sleep(_POLL)
