"""How many small pieces become few, without a change of what they say."""

from __future__ import annotations

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from gateway.generation.pieces import Piece, merge, split

KINDS = st.sampled_from(["content", "reasoning", "call", "arguments", "choice"])
PIECES = st.lists(st.tuples(KINDS, st.text("ab", min_size=1, max_size=2)), max_size=200)


def joined(pieces: list[Piece]) -> list[tuple[str, str]]:
    """Return the text of each run of one kind."""
    runs = []
    for kind, run in groupby(pieces, lambda piece: piece[0]):
        texts = [text for _, text in run]
        runs.append((kind, "".join(texts)))
    return runs


@given(PIECES)
def test_merged_pieces_say_the_same(pieces: list[Piece]) -> None:
    merged = merge(pieces)
    assert joined(merged) == joined(pieces)
    if len(pieces) <= 64:
        assert merged == pieces
    names = ("call", "choice")  # never joined
    assert [p for p in merged if p[0] in names] == [p for p in pieces if p[0] in names]


@given(PIECES, st.integers(1, 9))
def test_batches_say_the_same_and_are_small(pieces: list[Piece], most: int) -> None:
    batches = split(pieces, most)
    assert joined([piece for batch in batches for piece in batch]) == joined(pieces)
    assert max(sum(len(text) for _, text in batch) for batch in batches) < 2 * most
