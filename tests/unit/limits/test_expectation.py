"""How much is reserved for an answer that is not known yet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.limits.expectation import Expectation
from gateway.limits.names import Kind


def test_a_few_answers_change_nothing_yet() -> None:
    expectation = Expectation()
    for _ in range(7):
        expectation.observe("m", "chat", 9)
    assert expectation.expected("m", "chat") == 500
    assert expectation.expected("m", "fim", kind="completion") == 64
    expectation.observe("m", "chat", 9)
    assert expectation.expected("m", "chat") == 9


@pytest.mark.parametrize(("most", "expected"), [(None, 500), (100, 100), (900, 500), (0, 0)])
def test_no_more_is_expected_than_the_client_allows(most: int | None, expected: int) -> None:
    assert Expectation().expected("m", "chat", most) == expected


def test_four_of_five_answers_are_no_longer_and_the_latest_count() -> None:
    expectation = Expectation()
    for tokens in range(1, 11):
        expectation.observe("m", "chat", tokens * 100)
    assert expectation.expected("m", "chat") == 800
    for _ in range(200):
        expectation.observe("m", "chat", 100_000)
    assert expectation.expected("m", "chat") == 4096
    for _ in range(64):
        expectation.observe("m", "chat", 20)
    assert expectation.expected("m", "chat") == 20


@given(st.lists(st.integers(0, 5000), min_size=8, max_size=200))
def test_the_expectation_is_the_percentile_of_the_latest_answers(lengths: list[int]) -> None:
    expectation = Expectation()
    for tokens in lengths:
        expectation.observe("m", "chat", tokens)
    recent = sorted(lengths[-64:])
    expected = expectation.expected("m", "chat")
    if expected < 4096:
        assert sum(tokens <= expected for tokens in recent) >= 0.8 * len(recent)
        assert sum(tokens < expected for tokens in recent) < 0.8 * len(recent)
    else:
        assert sum(tokens < 4096 for tokens in recent) < 0.8 * len(recent)


@pytest.mark.parametrize("kind", ["chat", "completion"])
def test_only_so_many_pairs_are_remembered(kind: Kind) -> None:
    expectation = Expectation(capacity=3)
    start = expectation.expected("none", "r", kind=kind)
    for model in ("a", "b", "c", "a", "d"):
        for _ in range(8):
            expectation.observe(model, "r", 7)
    found = [expectation.expected(model, "r", kind=kind) for model in ("a", "b", "c", "d")]
    assert found == [7, start, 7, 7]
