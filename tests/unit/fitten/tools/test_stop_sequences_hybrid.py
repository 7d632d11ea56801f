"""Where an answer with calls in the hybrid notation ends, and with which finish reason."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.fitten.chat.prompt import OPENING, ROLE_MARKERS
from gateway.fitten.tools.stop_sequences import ToolStopSequenceFilter
from gateway.generation.pieces import Piece
from gateway.generation.request import Tool
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
