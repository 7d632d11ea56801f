"""Calculates the local days and months that budgets count by."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo


class UnknownZone(ValueError):
    """Reports that a time zone is not known on this machine."""


def zone_named(name: str) -> ZoneInfo:
    """Return the zone of a name such as `Asia/Shanghai`. Raises UnknownZone."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise UnknownZone(name) from None


def local_day(unix: float, zone: tzinfo) -> str:
    """Return the local date, such as `2026-11-28`."""
    return datetime.fromtimestamp(unix, zone).date().isoformat()


def local_month(unix: float, zone: tzinfo) -> str:
    """Return the local month, such as `2026-11`."""
    return local_day(unix, zone)[:7]


def local_minute(unix: float, zone: tzinfo) -> str:
    """Return date and time for a message, such as `2026-11-29 00:00`."""
    return f"{datetime.fromtimestamp(unix, zone):%Y-%m-%d %H:%M}"


class Calendar:
    """Holds the local day and month of the latest time that it was asked for.

    A day has 23 or 25 hours when the clocks change, and begins later where there is no
    midnight then.
    """

    __slots__ = ("begin", "day", "day_end", "month", "month_end", "zone")

    def __init__(self, zone: tzinfo) -> None:
        self.zone = zone
        self.day = self.month = ""
        self.begin = self.day_end = self.month_end = 0.0

    def move_to(self, unix: float) -> None:
        """Set the day and the month of a time. The time may also go back."""
        if self.begin <= unix < self.day_end:
            return
        local = datetime.fromtimestamp(unix, self.zone)
        # Without an hour and with fold=0 each is the first moment of a local day. In a gap,
        # that is the moment of the change itself.
        midnight = datetime(local.year, local.month, local.day, tzinfo=self.zone)
        following = (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)
        self.day = midnight.date().isoformat()
        self.month = self.day[:7]
        self.begin = midnight.timestamp()
        self.day_end = (midnight + timedelta(days=1)).timestamp()
        self.month_end = following.timestamp()
