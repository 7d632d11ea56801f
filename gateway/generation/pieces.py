"""Defines the pieces of an answer, and the sink that takes them on their way to the client."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Sequence
from typing import Literal, Protocol

FinishReason = Literal["stop", "length", "tool_calls"]

# The kind of a piece says what its text is, which is never empty:
# "content", "reasoning": a part of the answer, or of the model's thoughts.
# "call": the name of a tool; a tool call begins. "arguments": a part of the JSON arguments
#     of the last call.
# "choice": the number of a prompt, where there are several; its answer begins.
Kind = Literal["content", "reasoning", "call", "arguments", "choice"]

# A plain tuple, because an answer has a piece for every few characters.
Piece = tuple[Kind, str]


_TEXTS = ("content", "reasoning", "arguments")
_MANY = 64


def merge(pieces: Sequence[Piece]) -> list[Piece]:
    """Return a batch in which consecutive texts of one kind are one piece, if it is large.

    A search of the text then costs as much as the text is long, however many pieces there are.
    """
    if len(pieces) <= _MANY:
        return list(pieces)
    merged: list[Piece] = []
    for kind, run in itertools.groupby(pieces, operator.itemgetter(0)):
        if kind in _TEXTS:
            merged.append((kind, "".join([text for _, text in run])))
        else:
            merged += run
    return merged


def split(pieces: Sequence[Piece], most: int) -> list[list[Piece]]:
    """Return the pieces in batches of about `most` characters; there is at least one batch.

    A text with more characters becomes several pieces.
    """
    batches: list[list[Piece]] = [[]]
    size = 0
    for kind, text in pieces:
        for start in range(0, len(text), most):
            if size >= most:
                batches.append([])
                size = 0
            part = text[start : start + most]
            batches[-1].append((kind, part))
            size += len(part)
    return batches


class Sink(Protocol):
    """Takes the batches of one answer in order, each of them once. No batch is empty.

    grace: seconds without a piece before the first `keep_alive`; `inf` for never.
    interval: seconds without a piece before each further one.
    """

    @property
    def grace(self) -> float: ...

    @property
    def interval(self) -> float: ...

    def take(self, batch: Sequence[Piece]) -> bool:
        """Take a batch without waiting, so that a piece wakes no task.

        Return False if that is impossible now. Then the batch is not taken, and comes by `put`.
        """
        ...

    async def put(self, batch: Sequence[Piece]) -> None:
        """Take a batch, perhaps after a wait. Raises ConnectionError if the client is gone."""
        ...

    def hold(self, batch: Sequence[Piece]) -> None:
        """Take a batch after which only the end or an error comes; it is sent together with it."""
        ...

    async def keep_alive(self) -> None:
        """Show the client that its request still runs.

        It runs beside `put`, and never twice at the same time.
        """
        ...


class PieceCollector:
    """Collects the pieces of an answer that is sent whole; a `Sink`."""

    grace = interval = math.inf

    def __init__(self) -> None:
        self.pieces: list[Piece] = []

    def take(self, batch: Sequence[Piece]) -> bool:
        """Add a batch."""
        self.pieces.extend(batch)
        return True

    async def put(self, batch: Sequence[Piece]) -> None:
        """Add a batch."""
        self.pieces.extend(batch)

    def hold(self, batch: Sequence[Piece]) -> None:
        """Add the last batch."""
        self.pieces.extend(batch)

    async def keep_alive(self) -> None:
        """Do nothing: nothing can be sent before a whole answer."""
