"""An answer that was cut off, and the one that continues it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fitten.tools.overlap import OverlapRemover

BEFORE = "<call-K7Q2 Edit>\n<arg a>\nthe quick brown fox jumps"


def joined(before: str, texts: list[str]) -> tuple[str, bool]:
    remover = OverlapRemover(before, "<call-K7Q2")
    pieces = [piece for text in texts for piece in remover.feed([("content", text)])]
    pieces += remover.flush()
    return "".join([text for _, text in pieces]), remover.restarted


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        (" over the dog", " over the dog"),
        ("quick brown fox jumps over the dog", " over the dog"),
        ("jumps over the dog, and so on", "jumps over the dog, and so on"),
        ("the quick brown fox sat down", "the quick brown fox sat down"),
        ("the quick brown fox jumps", ""),
        ("", ""),
    ],
)
def test_only_a_long_repetition_is_left_out(text: str, rest: str) -> None:
    assert joined(BEFORE, [text]) == (rest, False)
    assert joined(BEFORE, list(text)) == (rest, False)


def test_white_space_that_looks_like_a_repetition_is_kept() -> None:
    assert joined("def f():\n" + " " * 40, [" " * 24 + "pass"]) == (" " * 24 + "pass", False)


@pytest.mark.parametrize("text", [BEFORE + " high", "\n" + BEFORE])
def test_a_block_that_is_written_anew_is_recognised(text: str) -> None:
    assert joined(BEFORE, list(text)) == (text, True)


def test_reasoning_is_left_out() -> None:
    remover = OverlapRemover(BEFORE, "<call-K7Q2")
    assert remover.feed([("reasoning", "So."), ("content", " over the lazy dogs")]) == [
        ("content", " over the lazy dogs")
    ]


@given(st.text(max_size=300), st.text(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_the_result_does_not_depend_on_the_cuts(before: str, text: str, where: list[int]) -> None:
    places = sorted({0, len(text), *[place for place in where if place < len(text)]})
    texts = [text[a:b] for a, b in pairwise(places)]
    assert joined(before, texts) == joined(before, [text] if text else [])


def test_a_long_value_is_recognised_however_it_is_cut() -> None:
    opening = "<call-K7Q2K7Q2K7Q2K7Q2"
    remover = OverlapRemover(f"{opening} Edit>\n<arg a>\n{'the quick ' * 30}", opening)
    text = f"{opening} Edit>\n"
    out = [piece for part in text for piece in remover.feed([("content", part)])]
    assert (remover.restarted, "".join(text for _, text in out)) == (True, text)
