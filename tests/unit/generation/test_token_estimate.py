"""The estimate of token counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.generation import token_estimate

any_text = st.text(max_size=30) | st.text("a好😀\ud83d\ude00", max_size=12)


@pytest.mark.parametrize(
    ("text", "size", "estimate"),
    [("", 0, 0), ("a", 1, 1), ("abcd", 4, 1), ("abcde", 5, 2), ("好", 3, 1), ("😀好", 7, 2)],
)
def test_four_bytes_of_utf8_count_as_a_token(text: str, size: int, estimate: int) -> None:
    assert token_estimate.size(text) == size
    assert token_estimate.estimate(token_estimate.size(text)) == estimate


@given(any_text, any_text)
def test_sizes_of_parts_add_up(one: str, other: str) -> None:
    assert token_estimate.size(one) + token_estimate.size(other) == token_estimate.size(one + other)


@given(any_text, st.integers(0, 60))
def test_a_prefix_is_the_longest_beginning_that_fits(text: str, limit: int) -> None:
    prefix = token_estimate.prefix(text, limit)
    assert text.startswith(prefix)
    assert token_estimate.size(prefix) <= limit
    assert prefix == text or token_estimate.size(text[: len(prefix) + 1]) > limit


def test_half_a_surrogate_pair_is_kept_as_a_character() -> None:
    assert token_estimate.size("\ud83d") == 3
    assert token_estimate.prefix("\ud83dab", 4) == "\ud83da"
