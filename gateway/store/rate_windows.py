"""Sliding windows: how many requests a caller has made lately, and whether one more may be."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Window:
    """What is allowed: at most `limit` in any `seconds`. callers: how many are remembered;
    beyond it the one longest unseen is forgotten, so that a flood of them fills no memory."""

    limit: int
    seconds: float
    callers: int


@dataclass(frozen=True, slots=True)
class Admission:
    """What came of one request. count: those of the caller in the window, with this one if it
    was admitted. first, last: seconds until the oldest and the newest of them leave it."""

    admitted: bool
    count: int
    first: float
    last: float


class RateWindows(Protocol):
    """The windows of the whole gateway, however many processes it has."""

    async def admit(self, name: str, caller: str, window: Window) -> Admission:
        """Count a request of this caller unless it would be one too many.

        name: of who counts; each has callers of its own.
        """
        ...


class SlidingWindows:
    """Windows in memory. clock: monotonic seconds."""

    # Why not the library `limits`: its moving window is kept on the wall clock, which may
    # jump, and its memory is bounded only by a thread or task that sweeps; its fixed
    # window counts refused requests; both cost more than the deque below needs.

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._callers: dict[str, OrderedDict[str, deque[float]]] = {}

    async def admit(self, name: str, caller: str, window: Window) -> Admission:
        """See `RateWindows`. Never waits, so that parallel requests cannot slip through."""
        return self.admit_now(name, caller, window)

    def admit_now(self, name: str, caller: str, window: Window) -> Admission:
        """The same at once."""
        now = self._clock()
        admitted = self._of(name, caller, window.callers)
        while admitted and admitted[0] <= now - window.seconds:
            admitted.popleft()
        fits = len(admitted) < window.limit
        if fits:
            admitted.append(now)
        return Admission(
            fits,
            len(admitted),
            admitted[0] + window.seconds - now,
            admitted[-1] + window.seconds - now,
        )

    def remembered(self, name: str) -> int:
        """How many callers are remembered under a name."""
        return len(self._callers.get(name, ()))

    def _of(self, name: str, caller: str, most: int) -> deque[float]:
        callers = self._callers.get(name)
        if callers is None:
            callers = self._callers[name] = OrderedDict()
        admitted = callers.get(caller)
        if admitted is None:
            while len(callers) >= most:
                callers.popitem(last=False)
            admitted = callers[caller] = deque()
        else:
            callers.move_to_end(caller)
        return admitted
