"""The reconciliation objects to a gateway that does what it must not, and to nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chaos.fault import Fault
from chaos.journal import Arrival
from chaos.outages import Outages
from chaos.processes import Window
from chaos.trouble import Trouble
from tests.chaos.support import PID, Made, call, exchange, line, outcome, request, struck

RESET = Trouble(Fault("reset", 10, 9))
REFUSED_ONCE = Trouble(Fault("refuse", 10, 1), soft=True)
KILL = Window("kill", 10.5, 12.0, PID)
RESTART = Window("restart", 9.0, 14.0, PID, grace=2.0)
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
    "a whole answer": Made(),
    "an answer that a fault cut short": Made(
        outcome("error frame", request(trouble=RESET)), exchanges=[struck(0, "reset", status=200)]
    ),
    "an error in place of one": Made(
        outcome("error status", request(trouble=RESET)),
        exchanges=[struck(0, "reset"), struck(1, "reset")],
    ),
    "a repeat after a refusal": Made(
        outcome(of=request(trouble=REFUSED_ONCE)), exchanges=[struck(0, "refuse"), exchange(1)]
    ),
    "a repeat with a renewed token": Made(exchanges=[exchange(0, status=401), exchange(1)]),
    "another account after 503": Made(
        exchanges=[exchange(0, status=503), exchange(1, user="u_second_user")],
        lines=[line(outcome(), account="second_user")],
    ),
    "a client that left": Made(outcome("left"), calls=[call(done=False, closed_at=11.2)]),
    "a client that left before it had arrived": Made(
        outcome("left", text="", ended=10.1), arrivals=[], lines=[], exchanges=[]
    ),
    "a kill while it ran": Made(
        outcome("broken", status=200, text="the"), arrivals=BUSY, lines=[], windows=(KILL,)
    ),
    "a kill right after it, which took the line": Made(
        arrivals=[Arrival(PID, 10.0, 10.4)], lines=[], windows=(KILL,)
    ),
    "a refused connection while it was away": Made(
        outcome("refused"), arrivals=[], lines=[], exchanges=[], windows=(RESTART,)
    ),
    "turned away at the end": Made(
        outcome("error status", status=503, code="draining"),
        arrivals=[],
        lines=[],
        exchanges=[],
        windows=(RESTART,),
    ),
    "no account while all pause": Made(
        outcome("error status", status=503, code="no_account_available"),
        exchanges=[],
        outages=outage(*ACCOUNTS),
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_nothing_is_wrong_with(name: str) -> None:
    assert GOOD[name].faults() == []


BAD = {
    # The client's book.
    "it never ended": Made(outcome("stuck")),
    "the client has two requests of this tag": Made(more_outcomes=(outcome(),)),
    "no connection, though": Made(outcome("refused"), arrivals=[], lines=[], exchanges=[]),
    "refused, but it arrived": Made(outcome("refused"), windows=(RESTART,)),
    "no answer, though nothing": Made(outcome("no answer"), arrivals=[], lines=[], exchanges=[]),
    "no answer, though it had arrived": Made(outcome("no answer"), windows=(RESTART,)),
    "the answer broke off": Made(outcome("broken", status=200), windows=(RESTART,)),
    "an error without a cause": Made(outcome("error status")),
    "the text is": Made(outcome(text="the quick")),
    "is no beginning of": Made(outcome("left", text="the slow")),
    # Arrivals.
    "it arrived 2 times": Made(arrivals=[Arrival(PID, 10.1, 10.2), Arrival(PID, 10.3, 10.4)]),
    "the gateway never was done": Made(arrivals=BUSY),
    "never arrived": Made(arrivals=[], lines=[], exchanges=[]),
    "Fitten was asked for it, but": Made(outcome("no answer"), arrivals=[], windows=(RESTART,)),
    # The log.
    "0 log lines for 1 arrivals": Made(lines=[]),
    "2 log lines": Made(lines=[line(outcome()), line(outcome())]),
    "nobody sent": Made(lines=[line(outcome()), line(outcome(), request_id="other")]),
    "the log says 200 client_closed": Made(lines=[line(outcome(), end="client_closed_request")]),
    "the log says 500": Made(lines=[line(outcome(), status=500)]),
    "the client had 300 bytes": Made(lines=[line(outcome(), bytes=299)]),
    "the client was told stop": Made(lines=[line(outcome(), finish_reason="length")]),
    "the log says second_user": Made(lines=[line(outcome(), account="second_user")]),
    "the log has": Made(lines=[line(outcome()), {"event": "bug", "level": "error"}]),
    '"not json"': Made(lines=[line(outcome()), {"event": "not json"}]),
    # The proxy's and the emulator's.
    "asked again": Made(exchanges=[exchange(0), exchange(1)]),
    "a whole answer, but Fitten was not asked": Made(exchanges=[]),
    "the last exchange was": Made(exchanges=[exchange(0, status=500)]),
    "a call at the emulator is still open": Made(calls=[call(done=False, done_at=None)]),
    "its call went on for 6.0 s": Made(outcome("left"), calls=[call(done=False, closed_at=17.0)]),
    "its call went on for 3.0 s": Made(outcome("left"), calls=[call(done_at=14.0)]),
    "was not sent to its end": Made(calls=[call(done=False, closed_at=11.0)]),
    "never reached the emulator": Made(calls=[]),
    "that did not pass": Made(calls=[call(0), call(7)]),
    "the emulator says 500": Made(calls=[call(0, status=500)]),
    "what nobody asked for": Made(exchanges=[exchange(0), strange := exchange(1)]),
}
strange.tag = ""


@pytest.mark.parametrize("sentence", BAD)
def test_the_books_object(sentence: str) -> None:
    faults = BAD[sentence].faults()
    assert any(sentence in fault for fault in faults), faults


def test_a_call_that_is_made_twice_is_found_whatever_came_of_the_request() -> None:
    for kind in ("error frame", "left"):
        made = Made(
            outcome(kind, request(trouble=RESET)),
            exchanges=[exchange(0), struck(1, "reset", status=200)],
        )
        assert any("asked again" in fault for fault in made.faults())


@pytest.mark.parametrize(
    "exchanges",
    [
        [struck(0, "reset"), struck(1, "reset"), exchange(2)],
        [struck(0, "hang"), exchange(1)],
        [struck(0, "reset", status=200), exchange(1)],
        [exchange(0, status=503), exchange(1)],
        [exchange(0, status=500), exchange(1, user="u_second_user")],
    ],
    ids=["lost twice", "silent", "the answer had begun", "the same account", "500"],
)
def test_what_must_not_be_repeated_is_not(exchanges: list[Any]) -> None:
    made = Made(outcome(of=request(trouble=RESET)), exchanges=exchanges)
    assert any("asked again" in fault for fault in made.faults())


def test_a_whole_answer_after_a_broken_one_is_a_lie() -> None:
    trouble = Trouble(marker="truncate how=reset after=3", breaks=True)
    made = Made(outcome(of=request(trouble=trouble)))
    assert made.faults() == ["a whole answer, though the upstream's was broken"]


def test_a_fault_that_never_came_true_is_no_cause() -> None:
    made = Made(outcome("error status", request(trouble=RESET)))
    assert made.faults() == ["an error without a cause"]


def test_a_fault_that_one_repeat_hides_is_no_cause() -> None:
    made = Made(
        outcome("error status", request(trouble=REFUSED_ONCE)), exchanges=[struck(0, "refuse")]
    )
    assert made.faults() == ["an error without a cause"]


def test_a_mistake_of_the_gateways_own_is_never_excused() -> None:
    seen = outcome("error status", request(trouble=RESET), status=500, code="internal_error")
    made = Made(seen, exchanges=[struck(0, "reset", status=200)])
    assert made.faults() == ["an error without a cause"]


def test_a_restart_excuses_no_end_before_its_time() -> None:
    seen = outcome("error frame", code="draining")
    assert Made(seen, windows=(RESTART,)).faults() == []
    hasty = replace(RESTART, grace=4.0)
    assert Made(seen, windows=(hasty,)).faults() == ["an error without a cause"]


def test_a_restart_excuses_no_missing_line() -> None:
    made = Made(lines=[], windows=(RESTART,))
    assert made.faults() == ["0 log lines for 1 arrivals"]


def test_a_kill_excuses_only_the_lines_of_its_own_process() -> None:
    other = Window("kill", 10.5, 12.0, PID + 1)
    assert Made(lines=[], windows=(other,)).faults() == ["0 log lines for 1 arrivals"]


@pytest.mark.parametrize(
    "window",
    [Window("kill", 10.5, 12.0, PID + 1), Window("kill", 15.0, 16.0, PID)],
    ids=["another process", "later"],
)
def test_only_the_kill_of_its_own_process_breaks_an_answer(window: Window) -> None:
    made = Made(outcome("broken", status=200), arrivals=BUSY, windows=(window,))
    assert made.faults()[:2] == [
        "the gateway never was done with it",
        "the answer broke off without a word",
    ]


def test_a_kill_excuses_no_line_that_had_time_to_be_written() -> None:
    later = Window("kill", 15.0, 16.0, PID)
    assert Made(lines=[], windows=(later,)).faults() == ["0 log lines for 1 arrivals"]


@pytest.mark.parametrize("names", [(), ACCOUNTS[:1]], ids=["none", "one of two"])
def test_no_account_is_no_excuse_while_one_can_serve(names: tuple[str, ...]) -> None:
    seen = outcome("error status", status=503, code="no_account_available")
    made = Made(seen, exchanges=[], outages=outage(*names))
    assert made.faults() == ["an error without a cause"]


def test_a_line_that_is_too_long_needs_an_account_that_is_out_of_use() -> None:
    seen = outcome("error status", status=503, code="server_is_overloaded")
    assert Made(seen, exchanges=[], outages=outage("first_user")).faults() == []
    assert Made(seen, exchanges=[], outages=outage()).faults() == ["an error without a cause"]


@pytest.mark.parametrize(("queued_ms", "excused"), [(3900.0, True), (10.0, False)])
def test_only_who_waited_long_in_line_may_have_no_time_left(
    queued_ms: float, excused: bool
) -> None:
    seen = outcome("error status", status=504, code="upstream_timeout")
    made = Made(seen, lines=[line(seen, queued_ms=queued_ms)], outages=outage("first_user"))
    assert (made.faults() == []) == excused


def test_an_account_that_never_came_back_is_named() -> None:
    assert outage("second_user", recovered=False).lasting == ["second_user"]
    assert outage("second_user").lasting == []
