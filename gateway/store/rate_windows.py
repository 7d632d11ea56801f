"""Counts the requests of each caller in a sliding window and admits or refuses one more."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Window:
    """Describes a limit: at most `limit` requests in any `seconds`.

    callers: how many callers are remembered. Beyond that, the caller that was not seen for
        longest is forgotten, so that many different callers cannot fill the memory.
    """

    limit: int
    seconds: float
    callers: int


@dataclass(frozen=True, slots=True)
class Admission:
    """Reports whether one request was admitted.

    count: requests of the caller in the window; includes this one if it was admitted.
    first: seconds until the oldest of them leaves the window.
    last: seconds until the newest of them leaves the window.
    """

    admitted: bool
    count: int
    first: float
    last: float


class RateWindows(Protocol):
    """Holds the windows of the whole gateway, which may have several processes."""

    async def admit(self, name: str, caller: str, window: Window) -> Admission:
        """Count a request of this caller, unless that would exceed the limit.

        name: the counter, such as one middleware. Each name has callers of its own.
        """
        ...


class SlidingWindows:
    """Keeps the windows in memory.

    clock: returns monotonic seconds.
    """

    # Why not the library `limits`: its moving window uses the wall clock, which may jump,
    # and only a separate thread or task removes old entries from its memory. Its fixed
    # window counts refused requests. Both cost more than the deque below.

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._callers: dict[str, OrderedDict[str, deque[float]]] = {}

    async def admit(self, name: str, caller: str, window: Window) -> Admission:
        """Count a request; see `RateWindows`.

        Never waits, so that parallel requests cannot exceed the limit together.
        """
        return self.admit_now(name, caller, window)

    def admit_now(self, name: str, caller: str, window: Window) -> Admission:
        """Count a request like `admit`, without a coroutine."""
        now = self._clock()
        admitted = self._admitted_times(name, caller, window.callers)
        while admitted and admitted[0] <= now - window.seconds:
            admitted.popleft()
        fits = len(admitted) < window.limit
        if fits:
            admitted.append(now)
        return Admission(
            fits,
            len(admitted),
            # In this order: else rounding could make it longer than the window.
            window.seconds - (now - admitted[0]),
            window.seconds - (now - admitted[-1]),
        )

    def remembered(self, name: str) -> int:
        """Return how many callers are remembered under this name."""
        return len(self._callers.get(name, ()))

    def _admitted_times(self, name: str, caller: str, max_callers: int) -> deque[float]:
        """Return when requests of this caller were admitted, oldest first."""
        callers = self._callers.get(name)
        if callers is None:
            callers = self._callers[name] = OrderedDict()
        admitted = callers.get(caller)
        if admitted is None:
            while len(callers) >= max_callers:
                callers.popitem(last=False)
            admitted = callers[caller] = deque()
        else:
            callers.move_to_end(caller)
        return admitted
