"""Calls beyond the first are a share of the requests."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.accounts.retry_budget import RetryBudget


def test_the_first_failure_may_be_repeated() -> None:
    budget = RetryBudget(0.2)
    budget.earn()
    assert budget.spend()
    assert not budget.spend()


def test_five_requests_earn_a_repeat() -> None:
    budget = RetryBudget(0.2)
    budget.spend()
    for _ in range(10):  # five of them for the repeat that was granted at the start
        assert not budget.allows_retry
        budget.earn()
    assert budget.spend()
    assert not budget.allows_retry


def test_at_most_ten_repeats_are_saved_up() -> None:
    budget = RetryBudget(0.2)
    for _ in range(10_000):
        budget.earn()
    assert sum(budget.spend() for _ in range(100)) == 10


def test_without_a_ratio_nothing_is_repeated() -> None:
    budget = RetryBudget(0.0)
    for _ in range(100):
        budget.earn()
        assert not budget.spend()


@given(st.lists(st.integers(0, 3), min_size=1, max_size=300), st.sampled_from([0.1, 0.2, 0.5, 1.0]))
def test_all_calls_are_at_most_one_and_the_ratio_for_each_request(
    wishes: list[int], ratio: float
) -> None:
    budget = RetryBudget(ratio)
    repeats = 0
    for requests, wish in enumerate(wishes, 1):
        budget.earn()
        repeats += sum(budget.spend() for _ in range(wish))
        assert repeats <= max(1.0, ratio * requests + 1e-6)
