"""Least busy first."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from gateway.accounts.selection_policy import least_busy


@dataclass
class FakeCandidate:
    name: str
    busy: int = 0
    limit: int = 4
    lease_number: int = 0
    ready: bool = True
    half_open: bool = False


@pytest.mark.parametrize(
    ("candidates", "chosen"),
    [
        ([FakeCandidate("a", busy=2), FakeCandidate("b", busy=1)], "b"),
        (
            [FakeCandidate("completion", busy=1, limit=2), FakeCandidate("large", busy=2, limit=8)],
            "large",
        ),
        ([FakeCandidate("a", lease_number=2), FakeCandidate("b", lease_number=1)], "b"),
        ([FakeCandidate("a", ready=False), FakeCandidate("b", busy=3)], "b"),
        ([FakeCandidate("a"), FakeCandidate("b", busy=3, half_open=True)], "b"),
    ],
)
def test_the_least_busy_account_is_chosen(candidates: list[FakeCandidate], chosen: str) -> None:
    assert least_busy(candidates, half_open_first=True).name == chosen


def test_a_half_open_account_comes_last_when_no_retry_is_allowed() -> None:
    trial, busy = FakeCandidate("trial", half_open=True), FakeCandidate("busy", busy=3)
    assert least_busy([trial, busy], half_open_first=False) is busy
    assert least_busy([trial], half_open_first=False) is trial
