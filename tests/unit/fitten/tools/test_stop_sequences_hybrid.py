"""Where an answer with calls in the hybrid notation ends, and with which finish reason."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.fitten.chat.prompt import OPENING, ROLE_MARKERS
from gateway.fitten.tools.stop_sequences import CallFilter, ToolStopSequenceFilter
from gateway.generation.pieces import Piece
from gateway.generation.request import Tool
from tests.counting import calls_of
from tests.unit.fitten.tools.reading.test_parser import said

TOOLS = (Tool("clock"), Tool("find", "", {"properties": {"a": {"type": "string"}}}))
BROKEN = '<call-K7Q2 find>\n{"a": "b"}\nno end\n'
WHOLE = "<call-K7Q2 clock>\n{}\n</call-K7Q2>\n"
RESULT = "<result-K7Q2 clock call_1 ok>\n12:00\n</result-K7Q2>"


def run(
    answer: str,
    size: int,
    *,
    max_tokens: int | None = None,
    stop: tuple[str, ...] = (),
    parallel: bool = True,
) -> tuple[list[tuple[str, Any]], str]:
    """Return what comes out of an answer in pieces of this size, and the finish reason."""
    stop_filter = ToolStopSequenceFilter(
        TOOLS,
        parallel=parallel,
        stop=stop,
        markers=ROLE_MARKERS,
        opening=OPENING,
        max_tokens=max_tokens,
        value="K7Q2",
    )
    out: list[Piece] = []
    for at in range(0, len(answer), size):
        out += stop_filter.feed([("content", answer[at : at + size])])
    out += stop_filter.flush()
    return said(out), stop_filter.finish_reason or stop_filter.natural_reason


def continued(**options: Any) -> ToolStopSequenceFilter:
    """Return the filter of an answer that was cut within a call and is being continued."""
    stop_filter = ToolStopSequenceFilter(
        TOOLS,
        parallel=True,
        markers=ROLE_MARKERS,
        opening=OPENING,
        value="K7Q2",
        repairable=True,
        **{"stop": (), "max_tokens": None, **options},
    )
    stop_filter.feed([("content", "<call-K7Q2 find>\n<arg a>\nbe")])
    assert stop_filter.needs_repair()
    stop_filter.continue_answer()
    return stop_filter


def test_the_reasoning_of_a_continuation_shows_that_the_model_still_writes() -> None:
    stop_filter = continued()
    stop_filter.advanced()
    for piece in (("reasoning", "Hm."), ("reasoning", "So."), ("content", "gin")):
        kind: Any = piece[0]
        assert stop_filter.feed([(kind, piece[1])]) == []
        assert stop_filter.advanced()
    assert not stop_filter.advanced()


def test_a_continuation_has_its_own_count_also_when_a_stop_string_ends_it() -> None:
    stop_filter = continued(stop=("STOP",))
    assert (stop_filter.content_bytes, stop_filter.reasoning_bytes) == (0, 0)
    rest = "gin\n</arg-K7Q2>\n</call-K7Q2>\nMore. STOP"
    out = stop_filter.feed([("content", rest)]) + stop_filter.flush()
    assert (stop_filter.finish_reason, stop_filter.stop_sequence) == ("tool_calls", "STOP")
    assert stop_filter.content_bytes == sum(len(text) for _, text in out)


def test_a_restated_call_is_all_that_is_passed_on() -> None:
    stop_filter = CallFilter(
        TOOLS,
        parallel=True,
        stop=(),
        markers=ROLE_MARKERS,
        opening=OPENING,
        max_tokens=None,
        value="K7Q2",
    )
    for kind in ("reasoning", "content"):
        assert stop_filter.feed([(kind, "Sorry.")]) == []
        assert stop_filter.advanced()
    out = stop_filter.feed([("content", f"\n{WHOLE}Bye.")]) + stop_filter.flush()
    assert said(out) == [("clock", {})]
    assert (stop_filter.called, stop_filter.natural_reason) == (True, "tool_calls")


@pytest.mark.parametrize(("max_tokens", "left"), [(None, None), (100, 92), (9, 1), (8, 0)])
def test_a_repair_has_the_rest_of_the_limit(max_tokens: int | None, left: int | None) -> None:
    stop_filter = ToolStopSequenceFilter(
        TOOLS,
        parallel=True,
        stop=(),
        markers=ROLE_MARKERS,
        opening=OPENING,
        max_tokens=max_tokens,
        value="K7Q2",
        repairable=True,
    )
    broken = "<call-K7Q2 fnid>\n{}\n</call-K7Q2>"
    stop_filter.feed([("content", broken)])
    assert stop_filter.tokens_left == left
    assert stop_filter.needs_repair() is (left != 0)


each_size = pytest.mark.parametrize("size", [1, 3, 7, 10_000])


@each_size
@pytest.mark.parametrize("max_tokens", [None, 5])
def test_nothing_behind_a_result_counts_not_even_for_the_limit(
    size: int, max_tokens: int | None
) -> None:
    assert run(f"\n{RESULT}", size, max_tokens=max_tokens) == ([], "stop")


@each_size
def test_text_that_is_held_back_before_a_result_is_not_lost(size: int) -> None:
    expected = [("content", "Text\n")], "stop"
    assert run(f"Text\n{RESULT}", size, stop=("Text\nEND",)) == expected


def test_ends_without_the_value_are_not_searched_again_and_again() -> None:
    stray = "\n</arg>\n"
    stop_filter = continued()
    out: list[Piece] = []

    def feed() -> None:
        for _ in range(2_000):
            out.extend(stop_filter.feed([("content", stray * 100)]))

    assert calls_of(feed) < 1_200_000  # a few for each end
    assert len(out) < 3000
    out += stop_filter.feed([("content", "\n</arg-K7Q2>\n</call-K7Q2>")])
    assert "".join(text for kind, text in out if kind == "arguments").count("</arg>") == 200_000


@each_size
def test_a_broken_call_behind_the_end_of_the_answer_does_not_count(size: int) -> None:
    assert run(f"<|end|>\n{BROKEN}", size) == ([], "stop")
    assert run(f"{WHOLE}<|end|>\n{BROKEN}", size) == ([("clock", {})], "tool_calls")


@each_size
def test_a_broken_call_that_is_not_passed_on_does_not_count(size: int) -> None:
    for answer in (WHOLE + BROKEN, WHOLE + BROKEN[:-9], WHOLE + WHOLE):
        (first, *others), reason = run(answer, size, parallel=False)
        assert (first, reason) == (("clock", {}), "tool_calls")
        assert {kind for kind, _ in others} <= {"content"}


@each_size
@pytest.mark.parametrize("behind", ["", WHOLE, RESULT, "\n<|end|>", "\n<|user|>\nHi", "\nSTOP"])
def test_an_answer_with_a_broken_call_ends_with_length(size: int, behind: str) -> None:
    out, reason = run(BROKEN + behind, size, stop=("STOP",))
    assert out[0] == ("find", '{"a":"b"')
    assert reason == "length"
