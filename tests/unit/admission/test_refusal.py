"""What a refusal says: which limit, whose, and when to try again."""

from __future__ import annotations

import time
from zoneinfo import ZoneInfo

import pytest

from gateway.admission.refusal import duration, named_scope, refusal
from gateway.errors import ConcurrencyExceeded, QuotaExceeded, RateLimited
from gateway.limits.claims import Verdict
from gateway.principal import Principal

SHANGHAI = ZoneInfo("Asia/Shanghai")


def refused(scope: str, limit: str, **more: object) -> Verdict:
    figures = {"maximum": 10, "used": 12, "retry_after": 12.21, **more}
    return Verdict(False, "2026-11-28", 7, scope, limit, **figures)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0ms"),
        (0, "0ms"),
        (0.0001, "1ms"),
        (0.12, "120ms"),
        (1, "1s"),
        (1.5, "1.5s"),
        (1.51, "1.6s"),
        (59.95, "1m0s"),
        (60, "1m0s"),
        (61.5, "1m1.5s"),
        (360, "6m0s"),
        (0.9999, "1s"),
        (3600, "1h0m0s"),
        (10_861.5, "3h1m1.5s"),
        (2_678_400, "744h0m0s"),
    ],
)
def test_a_duration_is_written_as_in_openais_headers(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("scope", "whose"),
    [
        ("key alice", "key alice"),
        ("team web and more", "team web and more"),
        ("gateway", "the gateway"),
        ("address 198.51.100.7", "this address"),
    ],
)
def test_a_rate_says_whose_it_is_and_the_seconds_to_wait(scope: str, whose: str) -> None:
    error = refusal(refused(scope, "tokens_per_minute"), SHANGHAI)
    assert type(error) is RateLimited
    assert str(error) == (
        f"Rate limit reached for {whose}: 10 tokens per minute. Please try again in 12.3s."
    )
    assert (error.retry_after, error.retryable) == (12.21, True)


def test_concurrency_has_a_cause_of_its_own_and_is_tried_again_soon() -> None:
    error = refusal(refused("team web", "concurrency", retry_after=0.001), SHANGHAI)
    assert type(error) is ConcurrencyExceeded
    assert str(error) == "The limit of team web is 10 requests at once. Please try again in 1s."
    assert error.retry_after == 1.0


@pytest.mark.parametrize(
    "limit",
    [
        *("requests_per_day", "requests_per_month"),
        *("tokens_per_5h", "tokens_per_day", "tokens_per_7d", "tokens_per_month"),
    ],
)
def test_a_budget_says_how_much_was_used_and_the_local_time_of_its_end(
    limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1795881600.0 - 3 * 3600)  # 21:00 in Shanghai
    error = refusal(refused("key alice", limit, retry_after=3 * 3600.0), SHANGHAI)
    assert type(error) is QuotaExceeded
    assert str(error) == (
        f"The budget of key alice is used up: 12 of 10 {limit.replace('_', ' ')}. "
        "Try again at 2026-11-29 00:00 (Asia/Shanghai)."
    )
    assert error.cause == "insufficient_quota"
    assert error.retry_after is None
    assert not error.retryable


def test_what_no_wait_helps_is_not_to_be_tried_again() -> None:
    error = refusal(refused("key alice", "tokens_per_minute", satisfiable=False), SHANGHAI)
    assert str(error) == (
        "The request needs about 7 tokens, and the limit of key alice is 10 tokens per minute. "
        "Make it shorter."
    )
    assert (error.retry_after, error.retryable) == (None, False)
    nothing = refused("key alice", "chats_per_minute", maximum=0, satisfiable=False)
    assert str(refusal(nothing, SHANGHAI)) == "The limit of key alice is 0 chats per minute."


def test_a_key_made_at_run_time_is_called_by_its_name() -> None:
    alice = Principal(id="i1", key_id="i1", name="alice", team="web", team_id="i2")
    assert "for key alice:" in str(refusal(refused("key i1", "chats_per_minute"), SHANGHAI, alice))
    assert "for team web:" in str(refusal(refused("team i2", "chats_per_minute"), SHANGHAI, alice))
    assert named_scope("gateway", alice) == "gateway"
    assert named_scope("key i1", None) == "key i1"
