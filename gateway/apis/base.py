"""What every API of the gateway can do; all that the handler knows of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.errors import GatewayError
from gateway.generation.outcome import Generation
from gateway.generation.pieces import Piece
from gateway.generation.request import GenerationRequest


class ResponseEncoder(Protocol):
    """One generation's answer in the bytes of a dialect."""

    def begin(self) -> bytes:
        """The first frames of a stream."""
        ...

    def pieces(self, batch: Sequence[Piece]) -> bytes:
        """The frames of a batch, in order."""
        ...

    def end(self) -> bytes:
        """The last frames of a stream that ended well."""
        ...

    def error(self, error: GatewayError) -> bytes:
        """The last frame of a stream that failed."""
        ...

    def whole(self, pieces: Sequence[Piece]) -> bytes:
        """The body of an answer that is not streamed."""
        ...


class Endpoint(Protocol):
    """A generating route of a dialect."""

    def parse(self, body: bytes) -> GenerationRequest:
        """What a body asks for. Raises InvalidRequest."""
        ...

    def encoder(self, generation: Generation) -> ResponseEncoder:
        """The encoder for one generation's answer."""
        ...
