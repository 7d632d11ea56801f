"""A recorded answer is read again as it was read, unless the reader has changed."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.scenarios.call_notations import NOTATIONS, written
from emulator.scenarios.tool_use import MadeCall
from gateway.fitten.chat.prompt import OPENING, ROLE_MARKERS
from gateway.fitten.tools.record import decode_record, encode_record
from gateway.fitten.tools.stop_sequences import ToolStopSequenceFilter
from gateway.generation.pieces import FinishReason, Piece
from gateway.replay.reader import read_again, read_record
from tests.unit.fitten.tools.reading.test_parser import TOOLS, said
from tests.unit.replay.support import BROKEN, record_of

calls = st.builds(
    lambda made, notation: written([made], notation),
    st.sampled_from([MadeCall("clock", {}), MadeCall("get_weather", {"city": "Paris 好"})]),
    st.sampled_from(NOTATIONS),
)
shards = st.sampled_from(["text", "\n", "```\n", "`", "<tool_call>", "</tool_call>", "<|end|>\n"])
answers = st.lists(calls | shards, min_size=1, max_size=8).map("".join)


@settings(max_examples=200, deadline=None)
@given(answers)
def test_an_answer_is_read_as_it_was(answer: str) -> None:
    record = decode_record(encode_record(record_of([("content", answer)])))
    reading = read_record(record)
    assert reading.same
    assert reading.pieces == read_again([("content", answer)], TOOLS)[0]


VALUE = "K7Q2"
hybrid_shards = st.sampled_from(
    [
        "<call-K7Q2 get_weather>\n",
        "<call-K7Q2 none>\n",
        '{"city": "Paris"}',
        "\n<arg city>\n",
        "\n</arg-K7Q2>\n",
        "\n</call-K7Q2>\n",
        "</arg>",
        "<call-K7",
        "<result-K7Q2 x ok>",
    ]
)
hybrid_answers = st.lists(calls | shards | hybrid_shards, min_size=1, max_size=10)


@settings(max_examples=300, deadline=None)
@given(hybrid_answers, st.booleans(), st.booleans(), st.booleans(), st.none() | st.integers(1, 60))
def test_an_answer_with_a_block_value_is_read_as_it_was(
    parts: list[str], streamed: bool, repairable: bool, whole: bool, max_tokens: int | None
) -> None:
    out, reader, reason = filtered(parts, streamed, repairable, whole, max_tokens)
    record = record_of(
        [("content", "".join(parts))],
        out,
        reason if whole else None,
        block=VALUE,
        streamed=streamed,
        repairable=repairable,
        max_tokens=max_tokens,
    )
    assert read_record(decode_record(encode_record(record))).same
    if reader.fault == "cut":
        rest = ["\n</arg-K7Q2>\n", "</call-K7Q2>\n"]
        reader.continue_answer()
        out = [piece for part in rest for piece in reader.feed([("content", part)])]
        out += reader.flush()
        record = record_of(
            [("content", "".join(rest))],
            out,
            reader.finish_reason or reader.natural_reason,
            block=VALUE,
            streamed=streamed,
            max_tokens=max_tokens,
            continues="".join(parts),
        )
        assert read_record(decode_record(encode_record(record))).same


def filtered(
    parts: list[str], streamed: bool, repairable: bool, whole: bool, max_tokens: int | None
) -> tuple[list[Piece], ToolStopSequenceFilter, FinishReason]:
    reader = ToolStopSequenceFilter(
        TOOLS,
        parallel=True,
        stop=(),
        markers=ROLE_MARKERS,
        opening=OPENING,
        max_tokens=max_tokens,
        value=VALUE,
        eager=streamed,
        repairable=repairable,
    )
    out: list[Piece] = []
    for part in parts:
        out += reader.feed([("content", part)])
    if not (whole and reader.needs_repair()):
        out += reader.flush(whole=whole)
    return out, reader, reader.finish_reason or reader.natural_reason


@pytest.mark.parametrize(
    ("raw", "out", "finish_reason", "same"),
    [
        ("<clock/>", [("content", "<clock/>")], "stop", False),  # it is a call today
        ("<clock/>", [("call", "clock"), ("arguments", "{}")], "tool_calls", True),
        ("<clock/>", [("call", "write_file"), ("arguments", "{}")], "tool_calls", False),
        ("<clock/>", [("call", "clock"), ("arguments", "{}")], "stop", False),
        (BROKEN, [("content", BROKEN)], "length", True),
        (BROKEN, [("content", BROKEN[1:])], "stop", False),
        (BROKEN, [("content", BROKEN)], None, True),  # an error ended it
    ],
)
def test_what_has_changed_is_seen(
    raw: str, out: list[Piece], finish_reason: Any, same: bool
) -> None:
    assert read_record(record_of([("content", raw)], out, finish_reason)).same is same


def test_lengths_of_masked_texts_are_not_compared() -> None:
    record = record_of([("content", BROKEN)], [("content", BROKEN + "a secret")], "length")
    assert not read_record(record).same
    record.masked = True
    assert read_record(record).same


def test_beside_a_cut_the_parts_follow_each_other() -> None:
    record = record_of([("content", BROKEN)])
    record.raw = [("content", "one "), ("cut", "1000"), ("content", "two"), ("content", "")]
    assert said(read_record(record).pieces) == [("content", "one two")]


@pytest.mark.parametrize("text", ["<tool_call>{", "<clock/>", '{"name":', "```\n", "<" * 7, "eyJ"])
def test_a_hostile_answer_takes_bounded_time(text: str) -> None:
    record = record_of([("content", BROKEN)])
    record.raw = [("content", text * (3_000_000 // len(text)))]
    before = time.process_time()
    read_record(record)
    assert time.process_time() - before < 20
