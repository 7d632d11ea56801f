"""Where an answer ends: the same place however the text was split into pieces.

The markers between turns have a table of their own, in test_turn_end.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.generation import token_estimate
from gateway.generation.pieces import FinishReason, Piece
from gateway.generation.stop_sequences import StopSequenceFilter

MARKERS = ("<|a|>", "<|ab|>")

Outcome = tuple[str, str, FinishReason | None]


def run(
    stop_filter: StopSequenceFilter, pieces: Sequence[Piece], *, together: bool = False
) -> Outcome:
    """The joined content, the joined reasoning and the finish reason."""
    out: list[Piece] = []
    for batch in [list(pieces)] if together else [[piece] for piece in pieces]:
        out += stop_filter.feed(batch)
    out += stop_filter.flush()
    assert all(text for _, text in out), "a piece is never empty"
    content = "".join(text for kind, text in out if kind == "content")
    reasoning = "".join(text for kind, text in out if kind == "reasoning")
    return content, reasoning, stop_filter.finish_reason


def reference(reasoning: str, content: str, stop: Sequence[str], max_tokens: int | None) -> Outcome:
    """What is meant, one character at a time."""
    reason: FinishReason | None = None
    seen = ""
    for character in content:
        seen += character
        found = [needle for needle in stop if seen.endswith(needle)]
        if found:
            seen = seen[: -max(map(len, found))]
            reason = "stop"
            break
    if max_tokens is None:
        return seen, reasoning, reason
    budget = max_tokens * token_estimate.BYTES_PER_TOKEN
    for limited, kind in ((reasoning, "reasoning"), (seen, "content")):
        if len(limited.encode()) > budget:
            short = limited.encode()[:budget].decode("utf-8", "ignore")
            return (("", short) if kind == "reasoning" else (short, reasoning)) + ("length",)
        budget -= len(limited.encode())
    return seen, reasoning, reason


def cut(text: str, places: Sequence[int]) -> list[str]:
    bounds = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[a:b] for a, b in pairwise(bounds)]


texts = st.text("aAbB<|>\né好", max_size=24)
stops = st.lists(st.text("aAb<|", min_size=1, max_size=4), max_size=4)
limits = st.none() | st.integers(1, 8)
places = st.lists(st.integers(0, 1000), max_size=24)


@settings(max_examples=250, deadline=None)
@given(texts, texts, stops, limits, places, st.booleans())
@example("", "aab", ["aab", "ab"], None, [1, 2], False)
@example("", "aaaab", ["aaab"], 1, [1, 2, 3, 4], False)
@example("aaa", "ba", ["ba"], 1, [1], True)
def test_any_split_ends_where_reading_character_by_character_would_end(
    reasoning: str,
    content: str,
    stop: list[str],
    max_tokens: int | None,
    where: list[int],
    together: bool,
) -> None:
    pieces: list[Piece] = [("reasoning", part) for part in cut(reasoning, where)]
    pieces += [("content", part) for part in cut(content, where)]
    stop_filter = StopSequenceFilter(stop=stop, max_tokens=max_tokens)
    assert run(stop_filter, pieces, together=together) == reference(
        reasoning, content, stop, max_tokens
    )


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["content", "reasoning"]), texts), max_size=5),
    stops,
    limits,
    places,
)
def test_content_and_reasoning_taking_turns_can_be_split_anywhere(
    runs: list[Piece], stop: list[str], max_tokens: int | None, where: list[int]
) -> None:
    whole: list[Piece] = [(kind, text) for kind, text in runs if text]
    split: list[Piece] = [(kind, part) for kind, text in whole for part in cut(text, where)]
    cutoffs = [
        StopSequenceFilter(stop=stop, markers=MARKERS, max_tokens=max_tokens) for _ in range(2)
    ]
    assert run(cutoffs[0], whole) == run(cutoffs[1], split)


@settings(max_examples=60, deadline=None)
@given(texts, stops, limits)
def test_the_counts_are_those_of_what_went_out(
    text: str, stop: list[str], max_tokens: int | None
) -> None:
    stop_filter = StopSequenceFilter(stop=stop, markers=MARKERS, max_tokens=max_tokens)
    content, _, _ = run(stop_filter, [("content", text)] if text else [])
    assert stop_filter.content_bytes == len(content.encode())
    if max_tokens is not None:
        assert stop_filter.completion_tokens <= max_tokens


@pytest.mark.parametrize(
    ("pieces", "stop", "content", "reason"),
    [
        (["one ST", "OP two"], ["STOP"], "one ", "stop"),
        (["one S", "T", "O", "P"], ["STOP"], "one ", "stop"),
        (["one ST", "AY"], ["STOP"], "one STAY", None),
        (["one ST"], ["STOP"], "one ST", None),
        (["STOP"], ["STOP"], "", "stop"),
        (["aSTOP", "STOP"], ["STOP"], "a", "stop"),
        (["SSTOP"], ["STOP"], "S", "stop"),
        (["ab", "ab", "ac"], ["abac"], "ab", "stop"),
        (["stop STOP"], ["STOP"], "stop ", "stop"),
        (["a longer b"], ["longer b", "long"], "a ", "stop"),
        (["xabc"], ["bc", "abc", "c"], "x", "stop"),
        (["line\n", "\nnext"], ["\n\n"], "line", "stop"),
        (["好的，停", "止吧"], ["停止"], "好的，", "stop"),
        (["a\n<|END|>\nb"], [], "a\n", "stop"),
        (["a\n<|e", "Nd", "|>\nb"], [], "a\n", "stop"),
        (["a<|END|>b"], [], "a<|END|>b", None),
        (["a <|", " end |>"], [], "a <| end |>", None),
        (["<|User|>\n", "b"], [], "", "stop"),
        (["if a <", " b"], [], "if a < b", None),
        (["if a <"], [], "if a <", None),
        (["a<|end|"], [], "a<|end|", None),
        (["<|user|><|end|>"], ["<|end|>"], "<|user|>", "stop"),
        (["<|user|>\n<|end|>"], ["<|end|>"], "", "stop"),
    ],
)
def test_an_answer_ends_at_what_is_completed_first(
    pieces: list[str], stop: list[str], content: str, reason: FinishReason | None
) -> None:
    stop_filter = StopSequenceFilter(stop=stop, markers=("<|end|>", "<|user|>"))
    assert run(stop_filter, [("content", piece) for piece in pieces]) == (content, "", reason)


def test_only_what_may_begin_a_stop_string_is_held_back() -> None:
    stop_filter = StopSequenceFilter(stop=["STOP"])
    assert stop_filter.feed([("content", "one ST")]) == [("content", "one ")]
    assert stop_filter.feed([("content", "AY")]) == [("content", "STAY")]
    assert stop_filter.feed([("content", "more S")]) == [("content", "more ")]
    assert stop_filter.flush() == [("content", "S")]
    assert stop_filter.flush() == []


def test_text_without_possible_stops_goes_out_as_it_came() -> None:
    stop_filter = StopSequenceFilter(markers=MARKERS)
    pieces: list[Piece] = [("content", "plain"), ("reasoning", "<|a|>"), ("content", "text")]
    assert stop_filter.feed(pieces) == pieces


def test_stop_strings_and_markers_are_not_looked_for_in_reasoning() -> None:
    stop_filter = StopSequenceFilter(stop=["STOP"], markers=MARKERS)
    assert run(stop_filter, [("reasoning", "STOP <|a|>"), ("content", "yes")]) == (
        "yes",
        "STOP <|a|>",
        None,
    )


@pytest.mark.parametrize(
    ("text", "max_tokens", "content", "reason"),
    [
        ("abcd", 1, "abcd", None),
        ("abcde", 1, "abcd", "length"),
        ("好好", 1, "好", "length"),
        ("a好好", 1, "a好", "length"),
        ("ab好", 1, "ab", "length"),
        ("😀", 1, "😀", None),
        ("a😀", 1, "a", "length"),
        ("😀😀😀", 2, "😀😀", "length"),
        ("", 1, "", None),
    ],
)
def test_a_token_limit_never_cuts_a_character(
    text: str, max_tokens: int, content: str, reason: FinishReason | None
) -> None:
    for pieces in ([text] if text else [], list(text)):
        stop_filter = StopSequenceFilter(max_tokens=max_tokens)
        assert run(stop_filter, [("content", piece) for piece in pieces]) == (content, "", reason)


def test_reasoning_counts_towards_the_limit() -> None:
    stop_filter = StopSequenceFilter(max_tokens=2)
    assert run(stop_filter, [("reasoning", "think"), ("content", "answer")]) == (
        "ans",
        "think",
        "length",
    )
    assert (stop_filter.completion_tokens, stop_filter.reasoning_bytes) == (2, 5)


def test_held_text_counts_towards_the_limit_when_it_is_released() -> None:
    stop_filter = StopSequenceFilter(stop=["bbbX"], max_tokens=1)
    assert run(stop_filter, [("content", "aaa"), ("content", "bbb")]) == ("aaab", "", "length")


@pytest.mark.parametrize(
    "stop_filter",
    [
        StopSequenceFilter(stop=["."]),
        StopSequenceFilter(max_tokens=1),
        StopSequenceFilter(markers=("<|end|>",)),
    ],
)
def test_nothing_comes_out_after_the_finish(stop_filter: StopSequenceFilter) -> None:
    stop_filter.feed([("content", "aaaa.\n<|end|>\nb")])
    assert stop_filter.finish_reason is not None
    assert stop_filter.feed([("content", "more"), ("reasoning", "more")]) == []
    assert stop_filter.flush() == []
