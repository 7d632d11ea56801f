"""What a model thinks in its answer: a call there is only considered, not made."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.scenarios.call_notations import NOTATIONS, Notation, written
from emulator.scenarios.native_notations import NATIVE_NOTATIONS, NativeNotation, written_native
from emulator.scenarios.tool_use import MadeCall
from gateway.fitten.tools.reading.parser import ToolParser
from gateway.generation.request import Tool
from tests.unit.fitten.tools.reading.test_parser import (
    PLAIN,
    Said,
    calls,
    cut,
    parsed,
    said,
    text_of,
)

CALL = written([PLAIN], "tool_call")
CLOCK = written([MadeCall("clock", {})], "tool_call")
TAGS = ["think", "thinking", "thought"]


def read_all(text: str) -> Said:
    whole = parsed([text])
    assert parsed(list(text)) == whole
    return whole


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("notation", NOTATIONS)
def test_a_call_within_thoughts_is_text_and_one_behind_them_counts(
    notation: Notation, tag: str
) -> None:
    pondered = f"<{tag}>\nI could write\n{written([PLAIN], notation)}\nbut no.\n</{tag}>"
    assert read_all(pondered) == [("content", pondered)]
    for between in ("", "\n", "\n\nSo:\n"):
        text = f"{pondered}{between}{written([MadeCall('clock', {})], notation)}"
        result = read_all(text)
        assert calls(result) == [("clock", {})]
        assert text_of(result) == f"{pondered}{between}"


@pytest.mark.parametrize("before", ["", "\n  ", "Well.\n", "```\nx\n```\n", "`a`\n\t"])
def test_thoughts_begin_at_the_start_of_a_line(before: str) -> None:
    text = f"{before}<think>{CALL}</think>"
    assert read_all(text) == [("content", text)]


@pytest.mark.parametrize("before", ["The tag ", "a ", "> ", "`<think>` and `", "1. "])
def test_a_tag_that_a_sentence_mentions_changes_nothing(before: str) -> None:
    ticks = before.count("`") % 2 * "`"
    text = f"{before}<think>{ticks} begins thoughts.\n{CALL}"
    assert read_all(text) == [
        ("content", f"{before}<think>{ticks} begins thoughts.\n"),
        ("get_weather", PLAIN.arguments),
    ]


@pytest.mark.parametrize("fence", ["```", "~~~", "````"])
def test_a_tag_in_a_fence_changes_nothing(fence: str) -> None:
    text = f"{fence}\n<think>\n{fence}\n{CALL}"
    assert calls(read_all(text)) == [("get_weather", PLAIN.arguments)]


def test_a_fence_or_tick_in_thoughts_does_not_hide_what_is_behind_them() -> None:
    text = f"<think>\n```json\na `b\n</think>{CALL}"
    assert calls(read_all(text)) == [("get_weather", PLAIN.arguments)]


def test_thoughts_without_an_end_go_on_to_the_end_of_the_answer() -> None:
    text = f"<think>\nhm\n{CALL}\n</thin\n{CLOCK}"
    assert read_all(text) == [("content", text)]


@pytest.mark.parametrize("notation", NATIVE_NOTATIONS)
def test_a_call_may_follow_thoughts_whose_beginning_is_missing(notation: NativeNotation) -> None:
    text = f"I look it up</think>{written_native([PLAIN], notation)}"
    assert read_all(text) == [
        ("content", "I look it up</think>"),
        ("get_weather", PLAIN.arguments),
    ]


def test_thoughts_may_come_more_than_once() -> None:
    text = f"<think>{CALL}</think>\n{CLOCK}\n<think>\n{CALL}"
    assert read_all(text) == [
        ("content", f"<think>{CALL}</think>\n"),
        ("clock", {}),
        ("content", f"\n<think>\n{CALL}"),
    ]


@pytest.mark.parametrize("text", ["<thinker>", "<think", "<think >", "</think>", "<thoughts>"])
def test_another_tag_begins_no_thoughts(text: str) -> None:
    assert calls(read_all(f"{text}\n{CALL}")) == [("get_weather", PLAIN.arguments)]


def test_thoughts_pass_at_once_but_for_what_may_be_their_end() -> None:
    parser = ToolParser([Tool("clock")])
    assert parser.feed([("content", "<think>\na < b ")]) == [("content", "<think>\na ")]
    assert parser.feed([("content", "and more of it </th")]) == [("content", "< b and more of it ")]
    assert parser.feed([("content", "ink>ok")]) == [("content", "</think>ok")]
    assert parser.flush() == []


def test_a_tool_named_think_can_be_called_by_its_tag() -> None:
    schema = {"type": "object", "properties": {"thought": {"type": "string"}}}
    tools = [Tool("think", "", {**schema, "required": ["thought"]}), Tool("clock")]
    for text, expected in (
        ("<think><thought>hm</thought></think>", [("think", {"thought": "hm"})]),
        (f"<think>\nhm\n{CLOCK}</think>", []),
    ):
        parser = ToolParser(tools)
        assert calls(said(parser.feed([("content", text)]) + parser.flush())) == expected


shards = st.sampled_from(
    ["<think>", "\n<think>", "</think>", "</thinking>", "<thought>\n", "\n", "x", "`", "\n```\n",
     "</thi", "<", CALL, CLOCK]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(shards, max_size=12).map("".join), st.lists(st.integers(0, 500), max_size=20))
def test_any_cuts_give_the_same(answer: str, places: list[int]) -> None:
    whole = parsed([answer])
    assert parsed(cut(answer, places)) == whole
    assert parsed(list(answer)) == whole
