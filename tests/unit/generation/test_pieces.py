"""How many small pieces become few, without a change of what they say."""

from __future__ import annotations

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from gateway.generation.pieces import Piece, merge

KINDS = st.sampled_from(["content", "reasoning", "call", "arguments", "choice"])
PIECES = st.lists(st.tuples(KINDS, st.text("ab", min_size=1, max_size=2)), max_size=200)


def joined(pieces: list[Piece]) -> list[tuple[str, str]]:
    """Return the text of each run of one kind; calls and choices are never joined."""
    runs = []
    for kind, run in groupby(pieces, lambda piece: piece[0]):
        texts = [text for _, text in run]
        single = kind in ("call", "choice")
        runs += [(kind, text) for text in (texts if single else ["".join(texts)])]
    return runs


@given(PIECES)
def test_merged_pieces_say_the_same(pieces: list[Piece]) -> None:
    merged = merge(pieces)
    assert joined(merged) == joined(pieces)
    assert merged == pieces if len(pieces) <= 64 else merged == joined(pieces)
