"""Where an answer with calls ends: the same place whatever the cuts."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.scenarios.call_notations import NOTATIONS, written
from emulator.scenarios.native_notations import NATIVE_NOTATIONS, NativeNotation, written_native
from emulator.scenarios.tool_use import MadeCall
from gateway.fitten.chat.prompt import OPENING, ROLE_MARKERS
from gateway.fitten.tools.stop_sequences import ToolStopSequenceFilter
from gateway.generation.pieces import FinishReason, Piece
from gateway.generation.request import Tool
from tests.unit.fitten.tools.reading.test_parser import cut, said

TOOLS = (Tool("clock"), Tool("find", "", {"properties": {"a": {"type": "string"}}}))

Outcome = tuple[list[tuple[str, object]], FinishReason, int]


def run(
    texts: Sequence[str],
    stop: Sequence[str] = (),
    max_tokens: int | None = None,
    *,
    broken: bool = False,
) -> Outcome:
    stop_filter = ToolStopSequenceFilter(
        TOOLS,
        parallel=True,
        stop=stop,
        markers=ROLE_MARKERS,
        opening=OPENING,
        max_tokens=max_tokens,
    )
    out: list[Piece] = []
    for text in texts:
        out += stop_filter.feed([("content", text)])
    out += stop_filter.flush(whole=not broken)
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
shards = st.sampled_from(
    ["STOP", "ST", "OP", "\n", "\n", "text", "<|end|>", "\n<|user|>\n", "<|", "<tool_call>", "好",
     "```\n", "`", "</tool_call>", "\n<|end|>"]
)  # fmt: skip
answers = st.lists(calls | shards, max_size=8).map("".join)


@settings(max_examples=300, deadline=None)
@given(
    answers,
    st.lists(st.integers(0, 500), max_size=20),
    st.sampled_from([(), ("STOP",), ("xt", "P")]),
    st.none() | st.integers(1, 60),
    st.booleans(),
)
def test_any_cuts_end_at_the_same_place(
    answer: str, where: list[int], stop: tuple[str, ...], max_tokens: int | None, broken: bool
) -> None:
    whole = run(list(answer), stop, max_tokens, broken=broken)
    pieces, reason, _ = whole
    assert (reason == "tool_calls") <= any(name != "content" for name, _ in pieces)
    other = run(cut(answer, where), stop, max_tokens, broken=broken)
    if reason == "length" or stop or any(marker in answer for marker in ROLE_MARKERS):
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
    ],
)
def test_stop_strings_are_the_texts(
    answer: str, expected: list[tuple[str, object]], reason: str
) -> None:
    assert run([answer], ("STOP",))[:2] == (expected, reason)
    assert run(list(answer), ("STOP",))[:2] == (expected, reason)


QUOTED = "<|user|>\nHi\n<|end|>\n<|assistant|>\n"
PARAMETER = '<invoke name="find"><parameter name="a">\n{}\n</parameter></invoke>'
CALL = '<tool_call>\n{"name": "find", "arguments": {"a": "x"}}\n</tool_call>'
WRAPPED = '<function_calls>\n<find a="x"/>\n'
FOUND = ("find", {"a": "x"})

# The part of the table in tests/unit/generation/test_turn_end.py that needs tools.
ENDINGS: dict[str, tuple[str, list[tuple[str, object]], str]] = {
    # In the arguments of a call every marker is text.
    "a template in a parameter": (
        PARAMETER.format(QUOTED),
        [("find", {"a": QUOTED})],
        "tool_calls",
    ),
    "a template in JSON": (
        '{"name": "find", "arguments": {"a": "\n<|end|>\n<|user|>\nx"}}',
        [("find", {"a": "\n<|end|>\n<|user|>\nx"})],
        "tool_calls",
    ),
    "a template in JSON with escapes": (
        '{"name": "find", "arguments": {"a": "<|end|>\\n<|user|>\\nx"}}',
        [("find", {"a": "<|end|>\n<|user|>\nx"})],
        "tool_calls",
    ),
    "a marker in an attribute": (
        "a\n<find a='<|end|>\nx'/>",
        [("content", "a\n"), ("find", {"a": "<|end|>\nx"})],
        "tool_calls",
    ),
    "a template in a call, then a made-up turn": (
        PARAMETER.format(QUOTED) + "\n<|end|>\n<|user|>\nmore",
        [("find", {"a": QUOTED})],
        "tool_calls",
    ),
    # Markers next to calls.
    "a turn behind a call": (
        f"{CALL}\n<|end|>\n<|user|>\nx",
        [FOUND],
        "tool_calls",
    ),
    "the end behind a call": (f"{CALL}\n<|end|>", [FOUND], "tool_calls"),
    "a turn in the line of a call": (f"{CALL}<|end|>\nx", [FOUND], "tool_calls"),
    "the end in the line of a call": (f"{CALL}<|end|>", [FOUND], "tool_calls"),
    "text in the line of a call": (
        f"{CALL}<|end|>more",
        [FOUND, ("content", "<|end|>more")],
        "tool_calls",
    ),
    "a call in a made-up turn": (f"a\n<|assistant|>\n{CALL}", [("content", "a\n")], "stop"),
    "a call behind a marker in its line": (
        f"a\n<|end|>{CALL}",
        [("content", "a\n<|end|>"), FOUND],
        "tool_calls",
    ),
    "the opening before a call": (
        f"<|assistant|>\n{CALL}",
        [("content", "<|assistant|>\n"), FOUND],
        "tool_calls",
    ),
    # A marker ends a call whose end is missing.
    "a wrapper that is not closed": (f"{WRAPPED}<|end|>\n<|user|>\nx", [FOUND], "tool_calls"),
    "a wrapper that is not closed, at the end": (f"{WRAPPED}<|end|>", [FOUND], "tool_calls"),
    "a call that is not closed": (
        f"{CALL.removesuffix('</tool_call>')}<|end|>\n<|user|>\nx",
        [FOUND],
        "tool_calls",
    ),
    "a fence of calls that is not closed": (
        f"```\n{CALL}\n<|end|>\n<|user|>\nx",
        [FOUND],
        "tool_calls",
    ),
    "a list of calls": (
        '[tool_calls]\n- name: find\n- arguments: {"a": "x"}\n<|end|>\nmore',
        [FOUND],
        "tool_calls",
    ),
    # What began like a call and did not end is text, and so are the markers in it.
    "a call that is cut off": (
        "<find a='x\n<|end|>\n<|user|>\nmore",
        [("content", "<find a='x\n<|end|>\n<|user|>\nmore")],
        "stop",
    ),
    "a call that is cut off, with a template": (
        "I write it.\n" + PARAMETER.format(QUOTED)[:-30],
        [("content", "I write it.\n" + PARAMETER.format(QUOTED)[:-30])],
        "length",
    ),
    "a call that is cut off in a made-up turn": (
        "a\n<|end|>\n<find a='x",
        [("content", "a\n")],
        "stop",
    ),
    "a call that is cut off behind a marker in its line": (
        "a\n<|end|><find a='x",
        [("content", "a\n<|end|><find a='x")],
        "stop",
    ),
    "a quotation in a call that is cut off": (
        "<find a='<|end|>",
        [("content", "<find a='<|end|>")],
        "stop",
    ),
    "a call of another tool that is cut off": (
        '<invoke name="other"><parameter name="a">\n<|end|>\nx',
        [("content", '<invoke name="other"><parameter name="a">\n<|end|>\nx')],
        "stop",
    ),
    # What cannot be a call is text at once, and markers count in it.
    "a tag that is no call": (
        "<b>bold</b>\n<|end|>\nmore",
        [("content", "<b>bold</b>\n")],
        "stop",
    ),
    "a tag that is no call, in the line of a marker": (
        "<b><|end|></b>\nmore",
        [("content", "<b><|end|></b>\nmore")],
        "stop",
    ),
    # Text is as without tools.
    "a template in a fence": (
        f"```jinja\n{QUOTED}```\nDone.",
        [("content", f"```jinja\n{QUOTED}```\nDone.")],
        "stop",
    ),
    "a template in a fence, then a call": (
        f"```jinja\n{QUOTED}```\n{CALL}",
        [("content", f"```jinja\n{QUOTED}```\n"), FOUND],
        "tool_calls",
    ),
    "inline code": ("Use `<|end|>`\nok", [("content", "Use `<|end|>`\nok")], "stop"),
    "a sentence": ("Use <|end|>\nok", [("content", "Use <|end|>\nok")], "stop"),
    "a turn": ("a\n<|end|>\n<|user|>\nb", [("content", "a\n")], "stop"),
    "the end": ("a\n<|END|>\n", [("content", "a\n")], "stop"),
    "half a marker": ("a\n<|EN", [("content", "a\n<|EN")], "stop"),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_an_answer_with_tools_ends_as_specified_however_it_is_split(name: str) -> None:
    answer, expected, reason = ENDINGS[name]
    assert run([answer])[:2] == (expected, reason)
    assert run(list(answer))[:2] == (expected, reason)
    for place in range(1, len(answer)):
        assert run([answer[:place], answer[place:]])[:2] == (expected, reason), place


@pytest.mark.parametrize("answer", ["a\n<|end|>", "a\n<|end|>\n", "a\n<|us", "<|end|>"])
def test_when_the_connection_breaks_a_marker_that_is_held_back_is_text(answer: str) -> None:
    for texts in ([answer], list(answer)):
        assert run(texts, broken=True)[:2] == ([("content", answer)], "stop")


@pytest.mark.parametrize(
    ("max_tokens", "expected", "reason"),
    [
        (1, [("content", "abcd")], "length"),
        (2, [("content", "abcd\n<|e")], "length"),
        (3, [("content", "abcd\n<|end|>")], "length"),
        (4, [("content", "abcd\n")], "stop"),
    ],
)
def test_a_marker_that_the_limit_leaves_undecided_is_text(
    max_tokens: int, expected: list[tuple[str, object]], reason: str
) -> None:
    for texts in (["abcd\n<|end|>\nmore text"], list("abcd\n<|end|>\nmore text")):
        assert run(texts, max_tokens=max_tokens)[:2] == (expected, reason)


def test_a_call_that_the_limit_cuts_off_is_text_with_its_markers() -> None:
    answer = PARAMETER.format(QUOTED * 10)
    for max_tokens in range(10, len(answer) // 4, 7):
        kept = answer[: 4 * max_tokens]
        assert run([answer], max_tokens=max_tokens)[:2] == ([("content", kept)], "length")
        assert run(list(answer), max_tokens=max_tokens)[:2] == ([("content", kept)], "length")


def test_a_stop_string_may_begin_before_what_looks_like_a_call() -> None:
    for texts in (["a ST<find a='x"], list("a ST<find a='x")):
        assert run(texts, ("ST<find",))[:2] == ([("content", "a ")], "stop")


SPECIAL_TOKENS = [
    "<|tool_call_begin|>",
    "<｜tool▁calls▁begin｜>",
    "<|python_tag|>",
    "<|tool_call|>",
    "<|channel|>",
    "<|start|>assistant",
    "<|START_ACTION|>",
]


@pytest.mark.parametrize("token", SPECIAL_TOKENS)
def test_a_special_token_of_a_model_ends_no_answer(token: str) -> None:
    for text in (f"One.\n{token}\nTwo.", f"{token}\n", f"One\n{token}", f"One.\n{token} clock\n"):
        whole = run([text])
        assert whole[:2] == ([("content", text)], "stop")
        assert run(list(text)) == whole


@pytest.mark.parametrize("notation", NATIVE_NOTATIONS)
def test_a_call_in_the_notation_of_a_model_ends_no_answer(notation: NativeNotation) -> None:
    block = written_native([MadeCall("find", {"a": "\n<|user|>\n<|end|>\nSTOP"})], notation)
    for text in (f"One.\n{block}\nTwo.\n<|end|>\n<|user|>\nno", f"One.\n{block}\nTwo.STOPno"):
        whole = run([text], stop=["STOP"])
        assert whole[0] == [
            ("content", "One.\n"),
            ("find", {"a": "\n<|user|>\n<|end|>\nSTOP"}),
            ("content", whole[0][-1][1]),
        ]
        assert str(whole[0][-1][1]).strip() == "Two."
        assert run(list(text), stop=["STOP"]) == whole
