"""Answers that are all there before any of them is given."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.generation.pieces import Piece, Sink


class BufferedAnswer:
    """`Batches` of one batch; what enters the context fills `_pieces`."""

    def __init__(self) -> None:
        self._pieces: list[Piece] = []
        self.direct: Sink | None = None
        self.ended = False

    async def __aexit__(self, *_: object) -> None:
        """The calls have ended already."""

    async def __anext__(self) -> Sequence[Piece]:
        if self.ended or not self._pieces:
            raise StopAsyncIteration
        self.ended = True
        return self._pieces
