from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from gateway.admin.api.throttle import LoginThrottle


class SetClock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


def test_the_eleventh_failure_within_a_minute_waits_five_minutes(clock: SetClock) -> None:
    throttle = LoginThrottle(clock)
    assert [throttle.failed("192.0.2.1") for _ in range(11)] == [0.0] * 10 + [300.0]
    clock.now = 100.0
    assert throttle.failed("192.0.2.1") == 200.0
    assert throttle.failed("192.0.2.2") == 0.0
    clock.now = 300.0
    assert throttle.failed("192.0.2.1") == 0.0


def test_the_log_has_one_line_for_a_pause(clock: SetClock) -> None:
    throttle = LoginThrottle(clock)
    with capture_logs() as lines:
        for _ in range(500):
            throttle.failed("192.0.2.1")
        clock.now = 300.0
        for _ in range(500):
            throttle.failed("192.0.2.1")
    assert [(line["event"], line["wait"]) for line in lines] == [("admin_keys_refused", 300)] * 2


def test_failures_far_apart_never_wait(clock: SetClock) -> None:
    throttle = LoginThrottle(clock)
    for _ in range(100):
        assert throttle.failed("192.0.2.1") == 0.0
        clock.now += 7.0


def test_addresses_of_one_customer_count_together(clock: SetClock) -> None:
    throttle = LoginThrottle(clock)
    waits = [throttle.failed(f"2001:db8:0:1::{number:x}") for number in range(11)]
    assert waits[-1] == 300.0
    assert throttle.failed("2001:db8:0:2::1") == 0.0


def test_many_addresses_take_bounded_memory(clock: SetClock) -> None:
    throttle = LoginThrottle(clock)
    for number in range(10_050):
        throttle.failed(f"10.{number >> 8}.{number & 255}.1")
    assert len(throttle._by_address) == 10_000
