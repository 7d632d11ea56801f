"""Reports to systemd that the event loop is alive, with a status line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from gateway.server.systemd import SystemdNotifier

_log = structlog.get_logger("watchdog")

_POLL = 1.0  # seconds between two reports at most
_EXTENSION = 10.0  # seconds that each message of a drain asks for


class ServiceNumbers(Protocol):
    """Describes the numbers of a service that the status line shows."""

    @property
    def requests(self) -> int:
        """Return how many requests are open."""
        ...

    @property
    def accounts(self) -> tuple[int, int]:
        """Return how many accounts could serve a request now, and how many there are."""
        ...

    @property
    def workers(self) -> tuple[int, int] | None:
        """Return how many workers serve, and how many are configured; None without workers."""
        ...


class StatusLine:
    """Formats the state of a service as one line.

    note: more for the operator, such as why a reload was refused.
    """

    def __init__(self, numbers: ServiceNumbers) -> None:
        self._numbers = numbers
        self.note = ""
        self._drain_until: float | None = None

    def draining(self, seconds: float) -> None:
        """Show from now on that the service drains and ends within this many seconds."""
        self._drain_until = asyncio.get_running_loop().time() + seconds

    def __call__(self) -> str:
        open_requests = f"{self._numbers.requests} requests open"
        if self._drain_until is not None:
            left = max(0.0, self._drain_until - asyncio.get_running_loop().time())
            return f"draining: {open_requests}, at most {left:.0f} s left"
        accounts = _share(self._numbers.accounts)
        text = f"serving: {open_requests}, {accounts} accounts healthy"
        if workers := self._numbers.workers:
            text += f", {_share(workers)} workers"
        return f"{text}; {self.note}" if self.note else text


def _share(numbers: tuple[int, int]) -> str:
    return f"{numbers[0]} of {numbers[1]}"


async def keep_alive(notifier: SystemdNotifier, status: Callable[[], str]) -> None:
    """Send the status line when it changes, and keep the watchdog satisfied.

    The watchdog gets its message from the event loop, and only after a check that was on time.
    A check is late if the loop wakes later than due by more than a quarter of the watchdog's
    time. If every check is late, no more messages are sent and systemd restarts the service.
    Runs until cancelled.
    """
    loop = asyncio.get_running_loop()
    watchdog = notifier.watchdog
    interval = min(_POLL, watchdog / 8) if watchdog else _POLL
    next_message = loop.time()
    while True:
        before = loop.time()
        if watchdog and before >= next_message:
            notifier.alive()
            next_message = before + watchdog / 2 - interval
        notifier.status(status())
        while True:
            before = loop.time()
            await asyncio.sleep(interval)
            late = loop.time() - before - interval
            if not watchdog or late <= watchdog / 4:
                break
            _log.warning("event_loop_late", seconds=round(late, 3))


async def extend_stop_timeout(notifier: SystemdNotifier) -> None:
    """Extend systemd's stop timeout while a drain runs. Runs until cancelled."""
    while True:
        notifier.extend(_EXTENSION)
        await asyncio.sleep(_POLL)
