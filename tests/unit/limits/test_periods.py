"""Local days and months, also where clocks change."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.limits.periods import (
    Calendar,
    UnknownZone,
    local_day,
    local_minute,
    local_month,
    zone_named,
)
from tests.unit.limits.support import unix

ZONES = (
    *("Asia/Shanghai", "Asia/Kolkata", "Asia/Kathmandu", "America/New_York", "UTC"),
    *("Australia/Lord_Howe", "Pacific/Apia", "America/Sao_Paulo", "America/Havana"),
)


def at(time: float, zone: str) -> Calendar:
    calendar = Calendar(ZoneInfo(zone))
    calendar.move_to(time)
    return calendar


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Asia/Shanghai", "2026-11-28", 24),
        ("Asia/Kolkata", "2026-11-28", 24),
        ("Asia/Kathmandu", "2026-11-28", 24),
        ("America/New_York", "2026-03-08", 23),
        ("America/New_York", "2026-11-01", 25),
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
        ("America/Sao_Paulo", "2018-11-04", 23),  # the clocks changed at midnight
        ("America/Sao_Paulo", "2019-02-16", 25),
        ("America/Havana", "2026-11-01", 25),  # it has two midnights
    ],
)
def test_a_day_has_the_hours_of_its_zone(zone: str, day: str, hours: float) -> None:
    noon = at(unix(f"{day} 12:00:00", zone), zone)
    assert noon.day == day
    first = noon.day_end - hours * 3600
    assert local_day(first, ZoneInfo(zone)) == day
    assert local_day(first - 1, ZoneInfo(zone)) < day
    assert local_day(noon.day_end - 1, ZoneInfo(zone)) == day
    assert local_day(noon.day_end, ZoneInfo(zone)) > day


@pytest.mark.parametrize(
    ("zone", "time", "month", "following"),
    [
        ("Asia/Shanghai", "2026-11-30 23:59:59", "2026-11", "2026-12-01 00:00"),
        ("Asia/Kolkata", "2026-12-01 00:00:00", "2026-12", "2027-01-01 00:00"),
        ("America/New_York", "2028-02-29 12:00:00", "2028-02", "2028-03-01 00:00"),
        ("America/New_York", "2026-11-01 00:30:00", "2026-11", "2026-12-01 00:00"),
    ],
)
def test_a_month_ends_at_local_midnight(zone: str, time: str, month: str, following: str) -> None:
    calendar = at(unix(time, zone), zone)
    assert calendar.month == month
    assert local_minute(calendar.month_end, ZoneInfo(zone)) == following
    assert local_month(calendar.month_end - 1, ZoneInfo(zone)) == month


@given(
    st.sampled_from(ZONES),
    st.lists(st.integers(1_293_840_000, 1_830_000_000), min_size=1, max_size=20),
    st.lists(st.integers(-90_000, 90_000), max_size=20),
)
def test_a_calendar_is_right_at_every_time_in_any_order(
    zone: str, times: list[int], steps: list[int]
) -> None:
    calendar = Calendar(ZoneInfo(zone))
    for step in steps:
        times.append(times[-1] + step)
    for time in times:
        calendar.move_to(time)
        local = datetime.fromtimestamp(time, ZoneInfo(zone))
        assert calendar.day == f"{local:%Y-%m-%d}"
        assert calendar.month == f"{local:%Y-%m}"
        assert time < calendar.day_end <= calendar.month_end
        assert calendar.day_end - time <= 49 * 3600  # Apia left out a day
        assert local_day(calendar.day_end, ZoneInfo(zone)) > calendar.day


def test_an_unknown_zone_is_an_error_of_its_own() -> None:
    for name in ("Mars/Olympus", "", "../etc/passwd", "Asia", "a\0b"):
        with pytest.raises(UnknownZone):
            zone_named(name)
    assert zone_named("Asia/Shanghai").key == "Asia/Shanghai"
