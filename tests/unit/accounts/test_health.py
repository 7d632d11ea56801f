"""How the outcomes of calls change an account's health."""

from __future__ import annotations

import pytest

from gateway.accounts.health import CallOutcome, Health, outcome_of
from gateway.accounts.prompt_digest import KnownDigest
from gateway.errors import (
    AccountRefused,
    InternalError,
    RateLimited,
    Unavailable,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnauthorized,
)
from gateway.fitten.error_mapping import status_error
from tests.unit.accounts.support import PoolClock


class HealthBench:
    """A health and its clock."""

    def __init__(self, failures: int = 5, pause: float = 5.0) -> None:
        self.clock = PoolClock()
        self.health = Health(failures=failures, pause=pause, clock=self.clock)

    def call(
        self, outcome: CallOutcome, *, retry_after: float | None = None, times: int = 1
    ) -> None:
        """Calls with this outcome, one after another."""
        for _ in range(times):
            probe = self.health.begin()
            error = RateLimited("limited", retry_after=retry_after)
            self.health.end(outcome, probe=probe, error=error if outcome != "good" else None)

    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    def state(self) -> str:
        return self.health.state


@pytest.fixture
def bench() -> HealthBench:
    return HealthBench()


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "good"),
        (UpstreamError("500"), "bad"),
        (status_error(403), "bad"),
        (status_error(503), "bad"),
        (UpstreamError("no connection", elsewhere=True), "unreachable"),
        (UpstreamError("400", retryable=False), "good"),
        (UpstreamTimeout("silent"), "bad"),
        (RateLimited("429"), "limited"),
        (AccountRefused("401 after a login"), "refused"),
        (UpstreamUnauthorized("401"), "unknown"),
        (Unavailable("draining"), "unknown"),
        (InternalError(), "unknown"),
        (ConnectionResetError("the caller left"), "unknown"),
        (ValueError("a bug"), "unknown"),
    ],
    ids=lambda value: value if isinstance(value, str) else repr(value)[:30],
)
def test_each_error_has_its_meaning_for_the_account(
    error: BaseException | None, outcome: str
) -> None:
    assert outcome_of(error) == outcome


def test_a_new_account_is_healthy(bench: HealthBench) -> None:
    assert (bench.state(), bench.health.wait(), bench.health.admits()) == ("healthy", 0, True)


def test_a_rate_limit_cools_for_as_long_as_it_says(bench: HealthBench) -> None:
    bench.call("limited", retry_after=7)
    assert (bench.state(), bench.health.wait()) == ("cooling", 7)
    assert not bench.health.admits()
    bench.wait(6.9)
    assert bench.state() == "cooling"
    bench.wait(0.2)
    assert bench.state() == "half_open"
    assert bench.health.admits()


def test_a_rate_limit_without_a_wait_cools_longer_each_time_up_to_a_minute(
    bench: HealthBench,
) -> None:
    waits = []
    for _ in range(8):
        bench.call("limited")
        waits.append(bench.health.wait())
        bench.wait(waits[-1])
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    bench.call("good")
    bench.call("limited")
    assert bench.health.wait() == 1


def test_answers_to_what_was_asked_before_a_pause_do_not_end_or_count_in_it(
    bench: HealthBench,
) -> None:
    calls = [bench.health.begin() for _ in range(4)]
    for probe, outcome in zip(calls, ("limited", "bad", "limited", "good"), strict=True):
        bench.health.end(outcome, probe=probe)  # type: ignore[arg-type]
    assert (bench.state(), bench.health.wait()) == ("cooling", 1)


def test_a_longer_wait_that_comes_late_is_kept(bench: HealthBench) -> None:
    late = bench.health.begin()
    bench.call("limited", retry_after=5)
    bench.health.end("limited", probe=late, error=RateLimited("429", retry_after=30))
    assert bench.health.wait() == 30


def test_failures_in_a_row_open_the_breaker(bench: HealthBench) -> None:
    bench.call("bad", times=4)
    assert bench.state() == "healthy"
    bench.call("bad")
    assert (bench.state(), bench.health.wait()) == ("cooling", 5)


def test_a_success_between_failures_keeps_it_closed(bench: HealthBench) -> None:
    for _ in range(4):
        bench.call("bad", times=4)
        bench.call("good")
        bench.wait(10.1)
    assert bench.state() == "healthy"


def test_more_than_half_of_many_calls_open_the_breaker() -> None:
    bench = HealthBench(failures=1000)
    for _ in range(10):
        bench.call("bad")
        bench.call("good")
    assert bench.state() == "healthy"
    bench.call("bad")
    assert bench.state() == "cooling"


def test_failures_of_long_ago_do_not_count_in_the_share() -> None:
    bench = HealthBench(failures=1000)
    bench.call("bad", times=19)
    bench.wait(10.1)
    bench.call("bad")
    assert bench.state() == "healthy"


def test_failures_can_be_set_to_change_nothing() -> None:
    bench = HealthBench(failures=0)
    bench.call("bad", times=100)
    assert bench.state() == "healthy"
    bench.call("limited")
    assert bench.state() == "cooling"


def test_a_half_open_account_takes_one_probe(bench: HealthBench) -> None:
    bench.call("bad", times=5)
    bench.wait(5)
    assert bench.health.admits()
    assert bench.health.begin()
    assert not bench.health.admits()
    assert bench.health.wait() == 0, "nobody knows how long the probe takes"


def test_a_probe_that_fails_doubles_the_pause_up_to_a_minute(bench: HealthBench) -> None:
    bench.call("bad", times=5)
    waits = []
    for _ in range(6):
        waits.append(bench.health.wait())
        bench.wait(waits[-1])
        bench.call("bad")
    assert waits == [5, 10, 20, 40, 60, 60]


def test_a_probe_that_succeeds_closes_the_breaker(bench: HealthBench) -> None:
    bench.call("bad", times=5)
    bench.wait(5)
    bench.call("good")
    assert bench.state() == "healthy"
    bench.call("bad", times=4)
    assert bench.state() == "healthy"


def test_a_probe_whose_client_leaves_is_followed_by_another(bench: HealthBench) -> None:
    bench.call("bad", times=5)
    bench.wait(5)
    bench.call("unknown")
    assert bench.state() == "half_open"
    assert bench.health.admits()


def test_an_account_whose_probe_is_answered_is_in_use_but_still_half_open(
    bench: HealthBench,
) -> None:
    bench.call("bad", times=5)
    bench.wait(5)
    assert bench.health.begin()
    bench.health.answered()
    assert bench.state() == "healthy"
    assert bench.health.admits()
    bench.health.end("bad", probe=False)  # it stopped sending after all
    assert (bench.state(), bench.health.wait()) == ("cooling", 10)


def test_a_refused_account_is_dead_longer_each_time_up_to_an_hour(bench: HealthBench) -> None:
    waits = []
    for _ in range(9):
        bench.call("refused")
        assert bench.state() == "dead"
        assert bench.health.reason is not None
        waits.append(bench.health.wait())
        bench.wait(waits[-1])
        assert bench.state() == "half_open"
    assert waits == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]
    bench.call("good")
    assert bench.state() == "healthy"


def test_a_thousand_failures_overflow_nothing(bench: HealthBench) -> None:
    for _ in range(3000):
        bench.call("refused")
        bench.wait(bench.health.wait())
    assert bench.state() == "half_open"


def failing(bench: HealthBench, *prompts: bytes) -> None:
    for prompt in prompts:
        bench.health.end("bad", probe=False, error=UpstreamError("500"), prompt=KnownDigest(prompt))


def test_repeats_of_one_prompt_count_once() -> None:
    bench = HealthBench(failures=3)
    failing(bench, *[b"a"] * 50, b"b", *[b"a"] * 50)
    assert bench.state() == "healthy"
    failing(bench, b"c")
    assert bench.state() == "cooling"


def test_a_prompt_counts_again_after_ten_minutes() -> None:
    bench = HealthBench(failures=2)
    failing(bench, b"a")
    bench.clock.now += 601
    failing(bench, b"a")
    assert bench.health.state == "cooling"


def test_failures_that_have_no_prompt_or_no_connection_always_count() -> None:
    for outcome in ("bad", "unreachable"):
        bench = HealthBench(failures=3)
        for _ in range(3):
            prompt = KnownDigest(b"a") if outcome == "unreachable" else None
            bench.health.end(outcome, probe=False, error=UpstreamError("no"), prompt=prompt)
        assert bench.health.state == "cooling", outcome


def test_the_prompt_that_began_the_pause_is_not_the_probe() -> None:
    bench = HealthBench(failures=2)
    failing(bench, b"a", b"b")
    bench.clock.now += 60
    assert bench.health.state == "half_open"
    assert not bench.health.admits(KnownDigest(b"b"))
    assert bench.health.admits(KnownDigest(b"a"))
    assert bench.health.admits()


def test_a_forgiven_prompt_ends_the_pause_that_it_began() -> None:
    bench = HealthBench(failures=1)
    failing(bench, b"a")
    assert bench.health.has_failed(KnownDigest(b"a"))
    bench.health.forgive(KnownDigest(b"a"))
    assert bench.health.state == "healthy"
    assert bench.health.no_failures


def test_the_memory_of_prompts_is_bounded() -> None:
    bench = HealthBench(failures=0)
    failing(bench, *(b"%d" % number for number in range(10_000)))
    assert len(bench.health._failed_prompts) <= 256
