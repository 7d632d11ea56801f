"""The verdict of a run."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from chaos.processes import Measures
from chaos.records.exchange import ChaosExchange
from chaos.result import compared, count_faults, of_records
from tests.chaos.support import MadeExchange, exchange, outcome

BEFORE = Measures(
    descriptors=15, tasks={"serve": 1}, memory=50_000_000, slots=0, queued=0, accounts={}
)


def test_records_that_agree_make_a_good_run() -> None:
    result = of_records(MadeExchange().records())
    assert result.faults == []
    assert all(row.good for row in result.rows)


def test_a_fault_of_a_request_spoils_the_run_and_its_row(
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = of_records(MadeExchange(outcome(text="other")).records())
    assert [row.name for row in result.rows if not row.good] == ["  stream", "books"]
    assert result.report() == 1
    said = capsys.readouterr()
    assert "WRONG made-up-1" in said.err
    assert "1 do not agree" in said.out


def test_a_fault_that_never_came_true_spoils_the_run() -> None:
    assert count_faults(Counter(reset=3), ["reset"]).faults == []
    assert count_faults(Counter(reset=3), ["reset", "hang"]).faults == [
        "the fault 'hang' never came true"
    ]


@pytest.mark.parametrize(
    ("after", "fault"),
    [
        (replace(BEFORE, descriptors=16), "descriptors: 15 before, 16 after"),
        (replace(BEFORE, tasks={"serve": 1, "lost": 2}), "tasks: 3, 1 before; more: {'lost': 2}"),
        (replace(BEFORE, slots=1), "slots in use: 0 before, 1 after"),
        (replace(BEFORE, queued=1), "slots in use: 0 before, 1 after"),
        (replace(BEFORE, memory=60_000_000), "memory, MB: 50.0 before, 60.0 after"),
    ],
)
def test_what_an_idle_process_still_holds_spoils_the_run(after: Measures, fault: str) -> None:
    assert compared(BEFORE, after, memory=True).faults == [fault]


def test_a_process_as_before_is_a_good_one() -> None:
    assert compared(BEFORE, BEFORE, memory=True).faults == []


def other(target: str, *, status: int = 200) -> ChaosExchange:
    return ChaosExchange(50, target, forwarded=True, status=status)


LOGIN, REFRESH = "/codeuser/auth/login", "/codeuser/auth/refresh_access_token"
RENEWED = [exchange(0, status=401), exchange(1)]


def test_a_login_for_each_account_and_a_refresh_for_a_refused_token_are_good() -> None:
    made = MadeExchange(exchanges=[*RENEWED, other(LOGIN), other(REFRESH)])
    assert of_records(made.records()).faults == []


@pytest.mark.parametrize(
    ("exchanges", "fault"),
    [
        ([*RENEWED, other(LOGIN), other(LOGIN)], "2 logins for 1 accounts"),
        ([exchange(), other(REFRESH)], "1 refreshes for 0 refused tokens"),
    ],
)
def test_logins_and_refreshes_that_nothing_wanted_spoil_the_run(
    exchanges: list[ChaosExchange], fault: str
) -> None:
    assert of_records(MadeExchange(exchanges=exchanges).records()).faults == [fault]
