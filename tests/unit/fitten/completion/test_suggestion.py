"""Suggestions of code completion: what an answer inserts, and what is cut off."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import UpstreamError
from gateway.fitten.completion.document import GapDocument
from gateway.fitten.completion.end_tokens import without_end_tokens
from gateway.fitten.completion.repetition import without_repetition
from gateway.fitten.completion.suggestion import parse_suggestion
from gateway.generation.request import Fill

TEXT = st.text(
    st.one_of(st.sampled_from("ab\n\r好é😀𝔘"), st.characters(blacklist_categories=["Cs"])),
    max_size=60,
)


def parsed(answer: dict[str, Any], of: GapDocument) -> str:
    return parse_suggestion(answer, of, Fill(of.prefix, of.suffix))


AT = GapDocument("f(a", "b\nnext line\n")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"generated_text": "a + b"}, "a + b"),
        ({"generated_text": "x<|endoftext|>"}, "x"),
        ({"generated_text": "<|endoftext|>x<|endoftext|>y"}, "xy"),
        ({"generated_text": "x<｜end▁of▁text｜>"}, "x"),
        ({"generated_text": "one\r\ntwo\rthree\n"}, "one\ntwo\nthree\n"),
        ({"generated_text": "", "ex_msg": "more"}, "more"),
        ({"generated_text": "a", "ex_msg": "b"}, "ab"),
        ({"generated_text": ""}, ""),
        ({"generated_text": "<|endoftext|>"}, ""),
        ({}, ""),
        ({"generated_text": "b"}, ""),  # what stands there already
        ({"generated_text": ", c, b", "delta_char": 1}, ", c, "),
        ({"ex_msg": "b)", "delta_char": 1}, ""),  # cannot be had by inserting
        ({"generated_text": "x", "delta_char": 1}, ""),
        ({"generated_text": "x", "delta_line": 1}, ""),
        ({"generated_text": "x", "delta_char": -1}, ""),
        ({"generated_text": "x", "delta_char": "1"}, ""),
        ({"generated_text": "x", "delta_char": 10**9}, ""),
        ({"generated_text": "😀好"}, "😀好"),
    ],
)
def test_what_is_inserted(answer: dict[str, Any], text: str) -> None:
    assert parsed(answer, AT) == text


def test_half_of_a_character_is_never_replaced() -> None:
    of = GapDocument("", "😀")
    assert parsed({"generated_text": "x😀", "delta_char": 2}, of) == "x"
    assert parsed({"generated_text": "x😀", "delta_char": 1}, of) == ""


@given(before=TEXT, inserted=TEXT, after=TEXT, replaced=st.integers(1, 10))
def test_an_insertion_gives_the_text_that_the_upstream_meant(
    before: str, inserted: str, after: str, replaced: int
) -> None:
    of = GapDocument(before, after)
    old = after[:replaced]
    answer = {
        "generated_text": inserted + old,
        "delta_char": len(old.encode("utf-16-le")) // 2,
    }
    text = parsed(answer, of)
    clean = inserted.replace("\r\n", "\n").replace("\r", "\n")
    if "\r" not in old and text:
        assert before + text + after == before + clean + old + after[len(old) :]


@pytest.mark.parametrize("answer", [{"generated_text": 1}, {"ex_msg": None}, {"ori_start_line": 0}])
def test_an_answer_of_another_kind_is_an_error(answer: dict[str, Any]) -> None:
    with pytest.raises(UpstreamError):
        parsed(answer, AT)


def test_an_end_token_is_cut_off_before_a_replacement_is_read() -> None:
    of = GapDocument("f(", ")")
    answer = {"generated_text": "a)<|endoftext|><|im_end|>", "delta_char": 1}
    assert parsed(answer, of) == "a"


def calls(text: str, prefix: str, suffix: str) -> int:
    """The calls that cleaning a suggestion makes."""
    made = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal made
        made += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        without_repetition(without_end_tokens(text, prefix, suffix), prefix, suffix)
    finally:
        sys.setprofile(None)
    return made


HOSTILE = [
    ")",
    "(",
    "}\n",
    "}\n)\n",
    "a\n",
    "{\n",
    '"<|im_end|>',
    "<|im_end|>",
    "<|",
    "</s>",
    "f(\n",
]


@pytest.mark.parametrize("after", HOSTILE)
@pytest.mark.parametrize("before", HOSTILE)
def test_a_large_file_takes_as_much_work_as_a_small_one(before: str, after: str) -> None:
    text = after * (4000 // len(after))
    small, large = (
        calls(text, before * (size // len(before)), after * (size // len(after)))
        for size in (20_000, 400_000)
    )
    assert large <= small + 10
    assert large < 100_000
