"""Where an answer with calls ends: the same place whatever the cuts."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.scenarios.call_notations import NOTATIONS, written
from emulator.scenarios.tool_use import MadeCall
from gateway.fitten.chat.prompt import ROLE_MARKERS
from gateway.fitten.tools.stop_sequences import ToolStopSequenceFilter
from gateway.generation.pieces import FinishReason, Piece
from gateway.generation.request import Tool
from tests.unit.fitten.tools.test_parser import cut, said

TOOLS = (Tool("clock"), Tool("find", "", {"properties": {"a": {"type": "string"}}}))

Outcome = tuple[list[tuple[str, object]], FinishReason, int]


def run(texts: Sequence[str], stop: Sequence[str] = (), max_tokens: int | None = None) -> Outcome:
    stop_filter = ToolStopSequenceFilter(
        TOOLS, parallel=True, stop=stop, markers=ROLE_MARKERS, max_tokens=max_tokens
    )
    out: list[Piece] = []
    for text in texts:
        out += stop_filter.feed([("content", text)])
    out += stop_filter.flush()
    return (
        said(out),
        stop_filter.finish_reason or stop_filter.natural_reason,
        stop_filter.completion_tokens,
    )


calls = st.builds(
    lambda made, notation: written([made], notation),
    st.sampled_from([MadeCall("clock", {}), MadeCall("find", {"a": "STOP <b> 好"})]),
    st.sampled_from(NOTATIONS),
)
shards = st.sampled_from(["STOP", "ST", "OP", "\n", "text", "<|end|>", "<|", "<tool_call>", "好"])
answers = st.lists(calls | shards, max_size=6).map("".join)


@settings(max_examples=300, deadline=None)
@given(
    answers,
    st.lists(st.integers(0, 500), max_size=20),
    st.sampled_from([(), ("STOP",), ("xt", "P")]),
    st.none() | st.integers(1, 60),
)
def test_any_cuts_end_at_the_same_place(
    answer: str, where: list[int], stop: tuple[str, ...], max_tokens: int | None
) -> None:
    whole = run(list(answer), stop, max_tokens)
    pieces, reason, _ = whole
    assert (reason == "tool_calls") <= any(name != "content" for name, _ in pieces)
    other = run(cut(answer, where), stop, max_tokens)
    if reason == "length" or stop or "<|end|>" in answer:
        assert other[:2] == whole[:2]
    else:
        assert other == whole


@pytest.mark.parametrize(
    ("answer", "expected", "reason"),
    [
        ("a STOP b", [("content", "a ")], "stop"),
        ("a <clock/> STOP b", [("content", "a "), ("clock", {}), ("content", " ")], "tool_calls"),
        ("<find a='STOP'/>", [("find", {"a": "STOP"})], "tool_calls"),
        ("ST<clock/>OP", [("content", "ST"), ("clock", {}), ("content", "OP")], "tool_calls"),
        ("STOP<clock/>", [], "stop"),
        ("<clock/><|end|>more", [("clock", {})], "tool_calls"),
        ("<find a='<|end|>", [("content", "<find a='")], "stop"),
    ],
)
def test_stop_strings_are_the_texts_and_markers_the_models(
    answer: str, expected: list[tuple[str, object]], reason: str
) -> None:
    assert run([answer], ("STOP",))[:2] == (expected, reason)
    assert run(list(answer), ("STOP",))[:2] == (expected, reason)
