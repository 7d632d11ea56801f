"""Least busy first."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from gateway.accounts.selection_policy import least_busy


@dataclass
class Candidate:
    name: str
    busy: int = 0
    limit: int = 4
    turn: int = 0
    ready: bool = True
    on_trial: bool = False


@pytest.mark.parametrize(
    ("candidates", "chosen"),
    [
        ([Candidate("a", busy=2), Candidate("b", busy=1)], "b"),
        ([Candidate("small", busy=1, limit=2), Candidate("large", busy=2, limit=8)], "large"),
        ([Candidate("a", turn=2), Candidate("b", turn=1)], "b"),
        ([Candidate("a", ready=False), Candidate("b", busy=3)], "b"),
        ([Candidate("a"), Candidate("b", busy=3, on_trial=True)], "b"),
    ],
)
def test_the_least_busy_account_is_chosen(candidates: list[Candidate], chosen: str) -> None:
    assert least_busy(candidates, may_risk=True).name == chosen


def test_an_account_on_trial_is_the_last_when_its_failure_could_not_be_made_up_for() -> None:
    trial, busy = Candidate("trial", on_trial=True), Candidate("busy", busy=3)
    assert least_busy([trial, busy], may_risk=False) is busy
    assert least_busy([trial], may_risk=False) is trial
