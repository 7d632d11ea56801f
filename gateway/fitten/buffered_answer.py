"""Defines the base of answers that are complete before their first piece is sent."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.generation.pieces import Piece, Sink


class BufferedAnswer:
    """Provides an `Answer` of one batch; the subclass fills `_pieces` in `__aenter__`."""

    def __init__(self) -> None:
        self._pieces: list[Piece] = []
        self.direct: Sink | None = None
        self.ended = False

    async def __aexit__(self, *_: object) -> None:
        """Do nothing: the calls to Fitten ended in `__aenter__`."""

    async def __anext__(self) -> Sequence[Piece]:
        if self.ended or not self._pieces:
            raise StopAsyncIteration
        self.ended = True
        return self._pieces
