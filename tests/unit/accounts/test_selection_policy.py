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
    on_trial: bool = False


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
        ([FakeCandidate("a"), FakeCandidate("b", busy=3, on_trial=True)], "b"),
    ],
)
def test_the_least_busy_account_is_chosen(candidates: list[FakeCandidate], chosen: str) -> None:
    assert least_busy(candidates, may_risk=True).name == chosen


def test_an_account_on_trial_is_the_last_when_its_failure_could_not_be_made_up_for() -> None:
    trial, busy = FakeCandidate("trial", on_trial=True), FakeCandidate("busy", busy=3)
    assert least_busy([trial, busy], may_risk=False) is busy
    assert least_busy([trial], may_risk=False) is trial
