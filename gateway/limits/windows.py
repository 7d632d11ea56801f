"""Counts what one scope uses of one limit: in sliding windows and in calendar periods.

Each counter has the same methods, so that a meter need not know which one it has.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable
from datetime import tzinfo
from typing import Literal, Protocol

import msgspec

from gateway.limits.periods import Calendar


class Moment:
    """Holds the time of one decision by both clocks, and its day and month.

    monotonic: seconds that never go back. wall: unix seconds, which may.
    """

    __slots__ = ("calendar", "monotonic", "wall")

    def __init__(self, zone: tzinfo) -> None:
        self.calendar = Calendar(zone)
        self.monotonic = 0.0
        self.wall = 0.0


class Charge(msgspec.Struct, eq=False):
    """Holds what was counted together: in one period, one bucket or one request.

    at: the bucket's number or the time of the request. name: of the period.
    window: what has this amount in its sum, as long as it has.
    """

    amount: int
    at: float = 0
    name: str = ""
    window: TokenWindow | None = None


def change_tokens(charges: Iterable[Charge], difference: int) -> None:
    """Add a difference to charges of tokens. No amount becomes negative."""
    for charge in charges:
        change = difference if charge.amount + difference >= 0 else -charge.amount
        charge.amount += change
        if charge.window is not None:
            charge.window.total += change


class UsageGauge(Protocol):
    """Tells what is used of one limit."""

    def used(self, moment: Moment) -> int:
        """Return what is used at this moment."""
        ...

    def wait(self, moment: Moment, excess: int) -> float:
        """Return the seconds until so much less is used; at most `used`."""
        ...

    def resets(self, moment: Moment) -> float:
        """Return the seconds until nothing is used."""
        ...


class UsageCounter(UsageGauge, Protocol):
    """Counts what is used of one limit."""

    def take(self, moment: Moment, amount: int) -> Charge:
        """Count an amount. Return the charge."""
        ...

    def change(self, charge: Charge, difference: int) -> None:
        """Add a difference to a charge, if it is still counted. None becomes negative."""
        ...


class RequestWindow:
    """Counts the requests in any `seconds`, exactly; see `UsageGauge`."""

    # The window holds plain numbers: at high limits, objects would keep the garbage collector
    # busy.
    __slots__ = ("_seconds", "_times")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._times: deque[float] = deque()

    def used(self, moment: Moment) -> int:
        """See `UsageCounter`."""
        times = self._times
        edge = moment.monotonic - self._seconds
        while times and times[0] <= edge:
            times.popleft()
        return len(times)

    def add(self, at: float) -> None:
        """Count a request at this monotonic time, which is not earlier than those before."""
        self._times.append(at)

    def remove(self, at: float) -> None:
        """Take back a request that was counted at this time, if it is still counted."""
        with contextlib.suppress(ValueError):  # it has left the window
            self._times.remove(at)

    def wait(self, moment: Moment, excess: int) -> float:
        """See `UsageCounter`."""
        if not 0 < excess <= len(self._times):
            return 0.0
        # In this order: else rounding could make it longer than the window.
        return self._seconds - (moment.monotonic - self._times[excess - 1])

    def resets(self, moment: Moment) -> float:
        """See `UsageCounter`."""
        if not self._times:
            return 0.0
        return self._seconds - (moment.monotonic - self._times[-1])


class TokenWindow:
    """Counts tokens in any `seconds`, in buckets.

    Tokens are counted until the last moment of their bucket is `seconds` ago. So the window is
    longer than asked for, by one bucket at most, and nothing over the limit is admitted.

    by_wall: whether to use the wall clock. It may go back; then later buckets become the one
        of now, so that none is counted for longer than the window.
    """

    __slots__ = ("_buckets", "_by_wall", "_count", "_width", "total")

    def __init__(self, seconds: int, width: int, *, by_wall: bool) -> None:
        self._width = width
        self._count = seconds // width
        self._by_wall = by_wall
        self._buckets: deque[Charge] = deque()
        self.total = 0

    def used(self, moment: Moment) -> int:
        """See `UsageCounter`."""
        buckets = self._buckets
        if buckets:
            now = (moment.wall if self._by_wall else moment.monotonic) // self._width
            if buckets[-1].at > now:
                for bucket in buckets:
                    bucket.at = min(bucket.at, now)
            oldest = now - self._count
            while buckets and buckets[0].at < oldest:
                bucket = buckets.popleft()
                bucket.window = None
                self.total -= bucket.amount
        return self.total

    def take(self, moment: Moment, amount: int) -> Charge:
        """See `UsageCounter`."""
        self.used(moment)
        buckets = self._buckets
        now = (moment.wall if self._by_wall else moment.monotonic) // self._width
        if buckets and buckets[-1].at >= now:
            bucket = buckets[-1]
            bucket.amount += amount
        else:
            bucket = Charge(amount, now, window=self)
            buckets.append(bucket)
        self.total += amount
        return bucket

    def change(self, charge: Charge, difference: int) -> None:
        """See `UsageCounter`."""
        change_tokens((charge,), difference)

    def wait(self, moment: Moment, excess: int) -> float:
        """See `UsageCounter`."""
        if excess > 0:
            for bucket in self._buckets:
                excess -= bucket.amount
                if excess <= 0:
                    return self._until_gone(bucket, moment)
        return 0.0

    def resets(self, moment: Moment) -> float:
        """See `UsageCounter`."""
        for bucket in reversed(self._buckets):
            if bucket.amount:
                return self._until_gone(bucket, moment)
        return 0.0

    def seed(self, moment: Moment, amounts: Iterable[tuple[float, int]]) -> None:
        """Add what was used earlier: seconds of this window's clock, and tokens."""
        for seconds, amount in amounts:
            self._buckets.append(Charge(amount, seconds // self._width, window=self))
            self.total += amount
        self._buckets = deque(sorted(self._buckets, key=lambda bucket: bucket.at))
        self.used(moment)

    def _until_gone(self, bucket: Charge, moment: Moment) -> float:
        end = (bucket.at + 1 + self._count) * self._width
        return end - (moment.wall if self._by_wall else moment.monotonic)


class PeriodCounter:
    """Counts in the current calendar day or month. A new period begins at zero."""

    __slots__ = ("_charge", "_earlier", "_monthly")

    def __init__(self, period: Literal["day", "month"]) -> None:
        self._monthly = period == "month"
        # The wall clock may go back over the end of a period.
        self._charge, self._earlier = Charge(0), Charge(0)

    def used(self, moment: Moment) -> int:
        """See `UsageCounter`."""
        name = moment.calendar.month if self._monthly else moment.calendar.day
        if self._charge.name != name:
            kept = self._earlier if self._earlier.name == name else Charge(0, name=name)
            self._charge, self._earlier = kept, self._charge
        return self._charge.amount

    def take(self, moment: Moment, amount: int) -> Charge:
        """See `UsageCounter`."""
        self.used(moment)
        self._charge.amount += amount
        return self._charge

    def change(self, charge: Charge, difference: int) -> None:
        """See `UsageCounter`. What began in an earlier period is corrected there."""
        change_tokens((charge,), difference)

    def wait(self, moment: Moment, excess: int) -> float:
        """See `UsageCounter`."""
        return self._until_end(moment) if excess > 0 else 0.0

    def resets(self, moment: Moment) -> float:
        """See `UsageCounter`."""
        return self._until_end(moment) if self.used(moment) else 0.0

    def seed(self, moment: Moment, name: str, amount: int) -> None:
        """Add what was used earlier in the period of this name, if that is the current one."""
        self.used(moment)
        if self._charge.name == name:
            self._charge.amount += amount

    def _until_end(self, moment: Moment) -> float:
        calendar = moment.calendar
        return (calendar.month_end if self._monthly else calendar.day_end) - moment.wall


class OpenCounter:
    """Counts the requests that are open now."""

    __slots__ = ("open",)

    def __init__(self) -> None:
        self.open = 0

    def used(self, moment: Moment) -> int:
        """See `UsageCounter`."""
        return self.open

    def wait(self, moment: Moment, excess: int) -> float:
        """Return a usual time: nobody knows when a request ends."""
        return 1.0 if excess > 0 else 0.0

    def resets(self, moment: Moment) -> float:
        """See `UsageCounter`."""
        return self.wait(moment, self.open)
