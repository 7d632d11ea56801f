"""The reconciliation reports what a gateway must not do, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chaos.fault import ChaosFault
from chaos.fault_schedule import Trouble
from chaos.processes import RestartWindow
from chaos.records.journal import Arrival
from chaos.records.outages import Outages
from tests.chaos.support import (
    CRASHED,
    PID,
    MadeExchange,
    broken_exchange,
    call,
    exchange,
    ledger,
    line,
    outcome,
    request,
    row,
)

RESET = Trouble(ChaosFault("reset", 10, 9))
REFUSED_ONCE = Trouble(ChaosFault("refuse", 10, 1), soft=True)
KILL = RestartWindow("kill", 10.5, 12.0, PID)
RESTART = RestartWindow("restart", 9.0, 14.0, PID, grace=2.0)
BUSY = [Arrival(PID, 10.1, None)]
ACCOUNTS = ("first_user", "second_user")


def outage(*names: str, recovered: bool = True) -> Outages:
    """These accounts are out of use from second 5 to 20, by a wall clock that is monotonic."""
    lines: list[dict[str, Any]] = [
        {
            "event": "account_cooling",
            "account": name,
            "code": "upstream_error",
            "timestamp": "1970-01-01T00:00:05Z",
        }
        for name in names
    ]
    lines += [
        {"event": "account_recovered", "account": name, "timestamp": "1970-01-01T00:00:20Z"}
        for name in names
        if recovered
    ]
    return Outages(lines, ACCOUNTS, now=(0.0, 0.0))


GOOD = {
    "a whole answer": MadeExchange(),
    "an answer that a fault cut short": MadeExchange(
        outcome("error frame", request(trouble=RESET)),
        exchanges=[broken_exchange(0, "reset", status=200)],
    ),
    "an answer that broke off within its stop string": MadeExchange(
        outcome("error frame", request("stop", trouble=RESET, cut=True), text="the quick fox 1"),
        exchanges=[broken_exchange(0, "reset", status=200)],
    ),
    "an error in place of one": MadeExchange(
        outcome("error status", request(trouble=RESET)),
        exchanges=[broken_exchange(0, "reset"), broken_exchange(1, "reset")],
    ),
    "a repeat after a refusal": MadeExchange(
        outcome(of=request(trouble=REFUSED_ONCE)),
        exchanges=[broken_exchange(0, "refuse"), exchange(1)],
    ),
    "a repeat with a renewed token": MadeExchange(exchanges=[exchange(0, status=401), exchange(1)]),
    "another account after 503": MadeExchange(
        exchanges=[exchange(0, status=503), exchange(1, user="u_second_user")],
        lines=[line(outcome(), account="second_user")],
    ),
    "a client that left": MadeExchange(outcome("left"), calls=[call(done=False, closed_at=11.2)]),
    "a client that left before it had arrived": MadeExchange(
        outcome("left", text="", ended=10.1), arrivals=[], lines=[], exchanges=[]
    ),
    "a kill while it ran": MadeExchange(
        outcome("broken", status=200, text="the"), arrivals=BUSY, lines=[], windows=(KILL,)
    ),
    "a kill right after it, which took the line": MadeExchange(
        arrivals=[Arrival(PID, 10.0, 10.4)], lines=[], windows=(KILL,)
    ),
    "a kill right before its row": MadeExchange(
        arrivals=[Arrival(PID, 10.0, 10.4)], lines=[], rows=[CRASHED], windows=(KILL,)
    ),
    "a kill before it was admitted": MadeExchange(
        outcome("no answer"), arrivals=BUSY, lines=[], rows=[], exchanges=[], windows=(KILL,)
    ),
    "a refused connection while it was away": MadeExchange(
        outcome("refused"), arrivals=[], lines=[], exchanges=[], windows=(RESTART,)
    ),
    "turned away at the end": MadeExchange(
        outcome("error status", status=503, code="draining"),
        arrivals=[],
        lines=[],
        exchanges=[],
        windows=(RESTART,),
    ),
    "no account while all pause": MadeExchange(
        outcome("error status", status=503, code="no_account_available"),
        exchanges=[],
        outages=outage(*ACCOUNTS),
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_nothing_is_wrong_with(name: str) -> None:
    assert GOOD[name].faults() == []


BAD = {
    # The client's record.
    "it never ended": MadeExchange(outcome("stuck")),
    "the client has two requests of this tag": MadeExchange(more_outcomes=(outcome(),)),
    "no connection, though": MadeExchange(outcome("refused"), arrivals=[], lines=[], exchanges=[]),
    "refused, but it arrived": MadeExchange(outcome("refused"), windows=(RESTART,)),
    "no answer, though nothing": MadeExchange(
        outcome("no answer"), arrivals=[], lines=[], exchanges=[]
    ),
    "no answer, though it had arrived": MadeExchange(outcome("no answer"), windows=(RESTART,)),
    "the answer broke off": MadeExchange(outcome("broken", status=200), windows=(RESTART,)),
    "an error without a cause": MadeExchange(outcome("error status")),
    "the text is": MadeExchange(outcome(text="the quick")),
    "is no beginning of": MadeExchange(outcome("left", text="the slow")),
    # Arrivals.
    "it arrived 2 times": MadeExchange(
        arrivals=[Arrival(PID, 10.1, 10.2), Arrival(PID, 10.3, 10.4)]
    ),
    "the gateway never was done": MadeExchange(arrivals=BUSY),
    "never arrived": MadeExchange(arrivals=[], lines=[], exchanges=[]),
    "Fitten was asked for it, but": MadeExchange(
        outcome("no answer"), arrivals=[], windows=(RESTART,)
    ),
    # The log.
    "0 log lines for 1 arrivals": MadeExchange(lines=[]),
    "2 log lines": MadeExchange(lines=[line(outcome()), line(outcome())]),
    "nobody sent": MadeExchange(lines=[line(outcome()), line(outcome(), request_id="other")]),
    "the log says 200 client_closed": MadeExchange(
        lines=[line(outcome(), end="client_closed_request")]
    ),
    "the log says 500": MadeExchange(lines=[line(outcome(), status=500)]),
    "the client had 300 bytes": MadeExchange(lines=[line(outcome(), bytes=299)]),
    "the client was told stop": MadeExchange(lines=[line(outcome(), finish_reason="length")]),
    "the log says second_user": MadeExchange(lines=[line(outcome(), account="second_user")]),
    "the log has": MadeExchange(lines=[line(outcome()), {"event": "bug", "level": "error"}]),
    '"not json"': MadeExchange(lines=[line(outcome()), {"event": "not json"}]),
    # The ledger.
    "0 rows for 1 arrivals": MadeExchange(rows=[]),
    "2 rows for 1 arrivals": MadeExchange(rows=[row(line(outcome()))] * 2),
    "though its process lived": MadeExchange(rows=[CRASHED]),
    "the ledger upstream_error": MadeExchange(rows=[row(line(outcome()), ended="upstream_error")]),
    "but the ledger says draining": MadeExchange(
        arrivals=[Arrival(PID, 10.0, 10.4)],
        lines=[],
        rows=[row(line(outcome()), ended="draining")],
        windows=(KILL,),
    ),
    "completion_tokens 3, the ledger 4": MadeExchange(
        rows=[row(line(outcome()), completion_tokens=4)]
    ),
    # The proxy's and the emulator's.
    "asked again": MadeExchange(exchanges=[exchange(0), exchange(1)]),
    "a whole answer, but Fitten was not asked": MadeExchange(exchanges=[]),
    "the last exchange was": MadeExchange(exchanges=[exchange(0, status=500)]),
    "a call at the emulator is still open": MadeExchange(calls=[call(done=False, done_at=None)]),
    "its call went on for 6.0 s": MadeExchange(
        outcome("left"), calls=[call(done=False, closed_at=17.0)]
    ),
    "its call went on for 3.0 s": MadeExchange(outcome("left"), calls=[call(done_at=14.0)]),
    "was not sent to its end": MadeExchange(calls=[call(done=False, closed_at=11.0)]),
    "never reached the emulator": MadeExchange(calls=[]),
    "that did not pass": MadeExchange(calls=[call(0), call(7)]),
    "the emulator says 500": MadeExchange(calls=[call(0, status=500)]),
    "what nobody asked for": MadeExchange(exchanges=[exchange(0), strange := exchange(1)]),
}
strange.tag = ""


@pytest.mark.parametrize("sentence", BAD)
def test_disagreeing_records_are_reported(sentence: str) -> None:
    faults = BAD[sentence].faults()
    assert any(sentence in fault for fault in faults), faults


def test_no_kill_takes_the_row_of_a_request_that_was_passed_on() -> None:
    made = MadeExchange(outcome("no answer"), arrivals=BUSY, lines=[], rows=[], windows=(KILL,))
    assert made.faults() == ["0 rows for 1 arrivals"]


def test_a_row_that_belongs_to_no_request_is_reported() -> None:
    records = MadeExchange(rows=[CRASHED], arrivals=[]).records()
    records._enter_rows({"other": [CRASHED]})
    assert "the ledger has a request that nobody sent: 'other'" in records.faults


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"sums": {"requests": 2, "prompt_tokens": 7, "completion_tokens": 0}}, "the sums 2"),
        ({"counters": {"requests_per_month": 1, "tokens_per_month": 8}}, "the counter 8"),
        ({"faults": ("3 rows are lost",)}, "3 rows are lost"),
    ],
)
def test_rows_sums_and_counters_must_be_the_same(wrong: dict[str, Any], said: str) -> None:
    assert ledger([CRASHED]).differences() == []
    (fault,) = ledger([CRASHED], **wrong).differences()
    assert said in fault


def test_a_call_that_is_made_twice_is_found_whatever_came_of_the_request() -> None:
    for kind in ("error frame", "left"):
        made = MadeExchange(
            outcome(kind, request(trouble=RESET)),
            exchanges=[exchange(0), broken_exchange(1, "reset", status=200)],
        )
        assert any("asked again" in fault for fault in made.faults())


@pytest.mark.parametrize(
    "exchanges",
    [
        [broken_exchange(0, "reset"), broken_exchange(1, "reset"), exchange(2)],
        [broken_exchange(0, "hang"), exchange(1)],
        [broken_exchange(0, "reset", status=200), exchange(1)],
        [exchange(0, status=503), exchange(1)],
        [exchange(0, status=500), exchange(1, user="u_second_user")],
    ],
    ids=["lost twice", "silent", "the answer had begun", "the same account", "500"],
)
def test_what_must_not_be_repeated_is_not(exchanges: list[Any]) -> None:
    made = MadeExchange(outcome(of=request(trouble=RESET)), exchanges=exchanges)
    assert any("asked again" in fault for fault in made.faults())


def test_a_whole_answer_after_a_broken_one_is_reported() -> None:
    trouble = Trouble(marker="truncate how=reset after=3", breaks=True)
    made = MadeExchange(outcome(of=request(trouble=trouble)))
    assert made.faults() == ["a whole answer, though the upstream's was broken"]


def test_a_fault_that_never_came_true_is_no_cause() -> None:
    made = MadeExchange(outcome("error status", request(trouble=RESET)))
    assert made.faults() == ["an error without a cause"]


def test_a_fault_that_one_repeat_hides_is_no_cause() -> None:
    made = MadeExchange(
        outcome("error status", request(trouble=REFUSED_ONCE)),
        exchanges=[broken_exchange(0, "refuse")],
    )
    assert made.faults() == ["an error without a cause"]


def test_a_mistake_of_the_gateways_own_is_never_excused() -> None:
    seen = outcome("error status", request(trouble=RESET), status=500, code="internal_error")
    made = MadeExchange(seen, exchanges=[broken_exchange(0, "reset", status=200)])
    assert made.faults() == ["an error without a cause"]


def test_a_restart_excuses_no_end_before_its_time() -> None:
    seen = outcome("error frame", code="draining")
    assert MadeExchange(seen, windows=(RESTART,)).faults() == []
    hasty = replace(RESTART, grace=4.0)
    assert MadeExchange(seen, windows=(hasty,)).faults() == ["an error without a cause"]


def test_a_restart_excuses_no_missing_line() -> None:
    made = MadeExchange(lines=[], windows=(RESTART,))
    assert made.faults() == ["0 log lines for 1 arrivals"]


def test_a_kill_excuses_only_the_lines_of_its_own_process() -> None:
    other = RestartWindow("kill", 10.5, 12.0, PID + 1)
    assert MadeExchange(lines=[], windows=(other,)).faults() == ["0 log lines for 1 arrivals"]


@pytest.mark.parametrize(
    "window",
    [RestartWindow("kill", 10.5, 12.0, PID + 1), RestartWindow("kill", 15.0, 16.0, PID)],
    ids=["another process", "later"],
)
def test_only_the_kill_of_its_own_process_breaks_an_answer(window: RestartWindow) -> None:
    made = MadeExchange(outcome("broken", status=200), arrivals=BUSY, windows=(window,))
    assert made.faults()[:2] == [
        "the gateway never was done with it",
        "the answer broke off without a word",
    ]


def test_a_kill_excuses_no_line_that_had_time_to_be_written() -> None:
    later = RestartWindow("kill", 15.0, 16.0, PID)
    assert MadeExchange(lines=[], windows=(later,)).faults() == ["0 log lines for 1 arrivals"]


@pytest.mark.parametrize("names", [(), ACCOUNTS[:1]], ids=["none", "one of two"])
def test_no_account_is_no_excuse_while_one_can_serve(names: tuple[str, ...]) -> None:
    seen = outcome("error status", status=503, code="no_account_available")
    made = MadeExchange(seen, exchanges=[], outages=outage(*names))
    assert made.faults() == ["an error without a cause"]


def test_a_line_that_is_too_long_needs_an_account_that_is_out_of_use() -> None:
    seen = outcome("error status", status=503, code="server_is_overloaded")
    assert MadeExchange(seen, exchanges=[], outages=outage("first_user")).faults() == []
    assert MadeExchange(seen, exchanges=[], outages=outage()).faults() == [
        "an error without a cause"
    ]


@pytest.mark.parametrize(("queued_ms", "excused"), [(3900.0, True), (10.0, False)])
def test_only_a_request_that_waited_long_in_the_queue_may_have_no_time_left(
    queued_ms: float, excused: bool
) -> None:
    seen = outcome("error status", status=504, code="upstream_timeout")
    made = MadeExchange(seen, lines=[line(seen, queued_ms=queued_ms)], outages=outage("first_user"))
    assert (made.faults() == []) == excused


def test_an_account_that_never_came_back_is_named() -> None:
    assert outage("second_user", recovered=False).lasting == ["second_user"]
    assert outage("second_user").lasting == []
