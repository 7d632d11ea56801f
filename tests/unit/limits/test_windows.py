"""Single counters: sliding windows and periods."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from gateway.limits.windows import Moment, PeriodCounter, RequestWindow, TokenWindow
from tests.unit.limits.support import unix


def moment(monotonic: float = 0.0, wall: float = 1_796_000_000.0) -> Moment:
    found = Moment(ZoneInfo("Asia/Shanghai"))
    found.monotonic, found.wall = monotonic, wall
    found.calendar.move_to(wall)
    return found


def test_a_request_leaves_the_window_exactly_after_its_seconds() -> None:
    window = RequestWindow(60)
    window.add(0.5)
    window.add(10)
    assert window.used(moment(60.4)) == 2
    assert window.wait(moment(60.4), 1) == 60 - (60.4 - 0.5)
    assert window.resets(moment(60.4)) == 60 - (60.4 - 10)
    assert window.used(moment(60.5)) == 1


def test_a_request_that_is_taken_back_is_not_counted_and_only_once() -> None:
    window = RequestWindow(60)
    window.add(1)
    window.add(2)
    window.remove(1)
    window.remove(1)
    assert window.used(moment(3)) == 1
    window.add(4)
    assert window.used(moment(100)) == 0
    window.remove(4)
    assert window.used(moment(100)) == 0


@given(
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 50)), max_size=60),
    st.booleans(),
)
def test_tokens_of_any_window_are_all_counted_and_none_for_longer_than_a_bucket_more(
    steps: list[tuple[int, int]], by_wall: bool
) -> None:
    """Steps: milliseconds since the one before, and tokens."""
    window = TokenWindow(10, 1, by_wall=by_wall)
    taken: list[tuple[float, int]] = []
    now = 1000.0
    for milliseconds, tokens in steps:
        now += milliseconds / 1000
        here = moment(now, now)
        used = window.used(here)
        assert used >= sum(amount for time, amount in taken if time > now - 10)
        assert used <= sum(amount for time, amount in taken if time > now - 11)
        if used:
            later = now + window.resets(here)
            assert window.wait(here, used) <= later - now
        window.take(here, tokens)
        taken.append((now, tokens))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 50)), min_size=1), st.data())
def test_after_the_wait_of_a_window_so_much_less_is_used(
    steps: list[tuple[int, int]], data: st.DataObject
) -> None:
    window, now = TokenWindow(10, 1, by_wall=False), 0.0
    for seconds, tokens in steps:
        now += seconds
        window.take(moment(now), tokens)
    used = window.used(moment(now))
    excess = data.draw(st.integers(1, used))
    wait = window.wait(moment(now), excess)
    assert 0 < wait <= 11
    assert window.used(moment(now + wait - 0.001)) > used - excess
    assert window.used(moment(now + wait)) <= used - excess


def test_a_correction_reaches_its_bucket_and_is_dropped_when_that_is_gone() -> None:
    window = TokenWindow(60, 1, by_wall=False)
    place = window.take(moment(0), 100)
    window.take(moment(30), 10)
    window.change(place, 50)
    assert window.used(moment(31)) == 160
    window.change(place, -1000)
    assert window.used(moment(31)) == 10  # not below what others used
    later = window.take(moment(40), 5)
    assert window.used(moment(200)) == 0
    window.change(later, 500)
    assert window.used(moment(200)) == 0


def test_a_wall_clock_that_goes_back_lengthens_no_window() -> None:
    window = TokenWindow(5 * 3600, 300, by_wall=True)
    window.take(moment(wall=9_000_000), 7)
    assert window.used(moment(wall=5_000_000)) == 7
    assert window.used(moment(wall=5_000_000 + 5 * 3600 - 300)) == 7
    assert window.used(moment(wall=5_000_000 + 5 * 3600 + 300)) == 0


def test_a_seed_is_counted_like_what_was_taken_at_its_time() -> None:
    window = TokenWindow(5 * 3600, 300, by_wall=True)
    now = 9_000_000.0
    window.take(moment(wall=now), 1)
    window.seed(moment(wall=now), [(now - 600, 10), (now - 6 * 3600, 100), (now - 4 * 3600, 20)])
    assert window.used(moment(wall=now)) == 31
    assert window.used(moment(wall=now + 3600 + 300)) == 11


def test_a_period_begins_at_zero_and_keeps_what_belongs_to_the_one_before() -> None:
    counter = PeriodCounter("day")
    evening = moment(wall=unix("2026-11-28 23:59:59"))
    night = moment(wall=unix("2026-11-29 00:00:00"))
    place = counter.take(evening, 10)
    assert counter.wait(evening, 1) == 1
    assert counter.used(night) == 0
    counter.take(night, 3)
    counter.change(place, 90)
    assert counter.used(night) == 3
    assert counter.used(evening) == 100  # the clock went back
    assert counter.used(night) == 3
    assert counter.resets(night) == 24 * 3600


def test_a_seed_of_another_period_is_ignored() -> None:
    counter = PeriodCounter("month")
    here = moment(wall=unix("2026-12-01 00:00:00"))
    counter.seed(here, "2026-11", 500)
    counter.seed(here, "2026-12", 7)
    assert counter.used(here) == 7
