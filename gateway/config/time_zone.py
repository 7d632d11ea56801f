"""Finds the time zone in which a day of the gateway begins."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from datetime import UTC, timedelta, timezone, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from gateway.limits.periods import UnknownZone, zone_named
from gateway.options import did_you_mean
from gateway.redaction import word

_LOCALTIME = Path("/etc/localtime")
_DATABASE = "/zoneinfo/"  # in the path of every zone of a system


class TimeZoneName:
    """Requires a name of the time zone database, which this machine must have."""

    def fault(self, value: str) -> str | None:
        """Return what is wrong with a name, or None."""
        try:
            zone_named(value)
        except UnknownZone:
            pass
        else:
            return None
        import zoneinfo  # only for a mistake

        known = zoneinfo.available_timezones()
        if not known:
            return "this machine has no time zones; install tzdata (apt install tzdata)"
        question = did_you_mean(value, known)
        return f"'{word(value)}' is not a time zone such as Asia/Shanghai;{question}".rstrip(";")


def system_zone(
    environ: Mapping[str, str] | None = None, *, localtime: Path = _LOCALTIME
) -> tzinfo:
    """Return the zone of the system: that of the variable TZ, of /etc/localtime, or UTC.

    localtime: the file or link that says which zone the machine has.
    """
    written = (os.environ if environ is None else environ).get("TZ")
    if written is not None:
        name = written.removeprefix(":")
        try:
            return zone_named(name.rpartition(_DATABASE)[2]) if name else UTC
        except UnknownZone:
            # A rule such as CST-8, which only the C library reads. It knows when clocks change,
            # but cannot tell us.
            return timezone(timedelta(seconds=time.localtime().tm_gmtoff))
    target = os.path.realpath(localtime)
    try:
        if _DATABASE in target:
            return zone_named(target.rpartition(_DATABASE)[2])
        with localtime.open("rb") as file:
            return ZoneInfo.from_file(file, key="localtime")
    except (OSError, ValueError):
        return UTC
