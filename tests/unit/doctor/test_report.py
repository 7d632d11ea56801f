"""What is printed of the turns, and which notation is the best."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from gateway.doctor import report
from gateway.doctor.grading import Grade
from gateway.doctor.report import ToolSummary, TurnResult
from gateway.doctor.tool_cases import CASES

CALL = next(case for case in CASES if case.calls)
TEXT = next(case for case in CASES if not case.calls)
EXACT, VALID, NOTHING = Grade(valid=True, exact=True), Grade(valid=True), Grade()


def turn(grade: Grade, *, case: Any = CALL, failure: str | None = None, size: int = 10) -> Any:
    return TurnResult(case, grade, failure, size, 2, 0, 0.25)


def summary(label: str, *turns: TurnResult) -> ToolSummary:
    return report.summarize(label, turns)


BETTER_FIRST = [
    pytest.param([EXACT, NOTHING], [VALID, VALID], id="exactness comes before valid calls"),
    pytest.param([EXACT, VALID], [EXACT, NOTHING], id="then valid calls"),
    pytest.param([EXACT, NOTHING], [EXACT, Grade(false_calls=1)], id="then false calls"),
]


@pytest.mark.parametrize(("better", "worse"), BETTER_FIRST)
def test_the_best_is_found_in_any_order(better: list[Grade], worse: list[Grade]) -> None:
    good = summary("good", *(turn(grade, size=1000) for grade in better))
    bad = summary("bad", *(turn(grade, size=1) for grade in worse))
    for both in ([good, bad], [bad, good]):
        found = report.best(both)
        assert found is not None
        assert found.label == "good"


def test_of_equally_good_ones_the_shorter_is_the_best() -> None:
    long, short = summary("long", turn(EXACT, size=11)), summary("short", turn(EXACT, size=10))
    assert report.best([long, short]) is short


def test_without_a_valid_call_there_is_no_best() -> None:
    assert report.best([summary("a", turn(NOTHING)), summary("b", turn(NOTHING))]) is None


@pytest.mark.parametrize(
    ("result", "verdict"),
    [
        (turn(EXACT), "exact"),
        (turn(VALID), "not exact"),
        (turn(NOTHING), "no valid call"),
        (turn(Grade(false_calls=1)), "false call"),
        (turn(NOTHING, failure="upstream_timeout"), "failed"),
        (turn(Grade(answered=True), case=TEXT), "answered"),
        (turn(NOTHING, case=TEXT), "wrong answer"),
        (turn(Grade(false_calls=1), case=TEXT), "false call"),
    ],
)
def test_the_verdict_of_a_turn(result: TurnResult, verdict: str) -> None:
    assert result.verdict == verdict
    assert result.good == (verdict in ("exact", "answered"))


def test_the_table_has_a_row_per_notation() -> None:
    first = summary("hybrid", turn(EXACT, size=12_345), turn(VALID), turn(NOTHING, case=TEXT))
    second = summary("json", turn(NOTHING, failure="upstream_timeout"))
    head, *rows = report.table([first, second]).splitlines()
    assert re.split("  +", head.strip()) == [
        *("valid calls", "exact arguments", "false calls", "answers", "failures", "repairs"),
        *("characters in", "out", "seconds"),
    ]
    assert rows[0].split() == ["hybrid", "2/2", "1/2", "0", "0/1", "0", "0", "12,365", "6", "0.8"]
    assert rows[1].split() == ["json", "0/1", "0/1", "0", "0/0", "1", "0", "10", "2", "0.2"]


def test_what_was_missed_is_named_and_counted() -> None:
    turns = [turn(VALID), turn(VALID), turn(EXACT), turn(NOTHING, case=TEXT)]
    assert report.missed("json", turns) == (
        "json missed:\n  one call: not exact (2)\n  no tool needed: wrong answer (1)"
    )
    assert report.missed("json", [turn(EXACT)]) == ""


def test_the_data_have_the_sums_and_every_turn() -> None:
    data = json.loads(report.as_json(report.as_data("json", [turn(EXACT), turn(NOTHING)])))
    assert (data["label"], data["turns"], data["exact"]) == ("json", 2, 1)
    assert [run["verdict"] for run in data["runs"]] == ["exact", "no valid call"]
    assert data["runs"][0] == {
        "case": "one call",
        "verdict": "exact",
        "valid": True,
        "exact": True,
        "false_calls": 0,
        "answered": False,
        "failure": None,
        "characters_in": 10,
        "characters_out": 2,
        "repairs": 0,
        "seconds": 0.25,
    }
