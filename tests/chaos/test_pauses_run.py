"""The verdict on accounts that paused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chaos.pauses_run import accounts_back, waited, within_budget
from chaos.processes import Measures
from chaos.records.outages import Outages
from tests.chaos.support import MadeExchange, broken_exchange, exchange, line, outcome

ACCOUNTS = ("first_user", "second_user")
WELL = Measures(15, {}, 50_000_000, slots=0, queued=0, accounts=dict.fromkeys(ACCOUNTS, "healthy"))


def outages(*codes: str, recovered: bool = True) -> Outages:
    """An account pauses for each of these reasons, one after the other."""
    stamp = "1970-01-01T00:00:05Z"
    lines: list[dict[str, Any]] = []
    for code in codes:
        lines.append(
            {"event": "account_cooling", "account": "first_user", "code": code, "timestamp": stamp}
        )
        if recovered:
            lines.append(
                {"event": "account_recovered", "account": "first_user", "timestamp": stamp}
            )
    return Outages(lines, ACCOUNTS, now=(0.0, 0.0))


BOTH = ("upstream_error", "upstream_rate_limited")


def test_accounts_that_paused_for_both_reasons_and_came_back_are_good() -> None:
    result = accounts_back(outages(*BOTH), WELL, 0.5)
    assert result.faults == []
    assert "2 recoveries" in result.rows[-1].found


@pytest.mark.parametrize(
    ("found", "after", "fault"),
    [
        (outages(*BOTH, recovered=False), WELL, "the log has no recovery of first_user"),
        (
            outages(*BOTH),
            replace(WELL, accounts={"first_user": "cooling"}),
            "first_user is cooling",
        ),
        (outages("upstream_error"), WELL, "no account paused for a 429"),
        (outages("upstream_rate_limited"), WELL, "no account paused for failures"),
    ],
)
def test_an_account_that_stays_away_or_never_paused_spoils_the_run(
    found: Outages, after: Measures, fault: str
) -> None:
    assert accounts_back(found, after, 30.0).faults == [fault]


def test_more_repeats_than_the_budget_has_spoil_the_run() -> None:
    once = [broken_exchange(0, "refuse"), exchange(1)]
    assert within_budget(MadeExchange(exchanges=once).records()).faults == []
    often = [exchange(0, status=503), *(exchange(number) for number in range(1, 5))]
    assert within_budget(MadeExchange(exchanges=often).records()).faults == [
        "4 repeats, 2.8 more than earned"
    ]


def test_a_repeat_with_a_renewed_token_costs_nothing() -> None:
    renewed = [exchange(number, status=401) for number in range(5)]
    assert within_budget(MadeExchange(exchanges=renewed).records()).faults == []


def test_a_queue_in_which_no_request_waited_was_not_tested() -> None:
    waits = MadeExchange(lines=[line(outcome(), queued_ms=12.0)])
    assert waited(waits.records()).faults == []
    assert waited(MadeExchange().records()).faults == ["nobody had to wait for a slot"]
