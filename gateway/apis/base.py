"""Defines the interface between the handler and the dialects."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Protocol

from gateway.errors import GatewayError
from gateway.generation.model import Model
from gateway.generation.pieces import Piece
from gateway.generation.request import Generation, GenerationRequest


class Dialect(Protocol):
    """Describes an API family: its errors, models and headers, and which bodies are its own."""

    def status(self, error: GatewayError) -> int:
        """Return the status of an answer that is an error: the error's own in most dialects."""
        ...

    def retry_after(self, error: GatewayError) -> float | None:
        """Return the seconds to wait before a retry that makes sense; None to tell nothing."""
        ...

    def error_body(self, error: GatewayError, request_id: str | None = None) -> bytes:
        """Return the body of an answer that is an error. request_id: the request's, if known."""
        ...

    def add_headers(self, headers: MutableMapping[str, str], seconds: float) -> None:
        """Add the headers that every answer has. seconds: the time until its first byte."""
        ...

    def owns(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
        """Return whether a request's body has a sign of this dialect that no other one has.

        Clients send bodies of one dialect to routes of another. A body without any sign belongs
        to the dialect of the route.
        """
        ...

    def models_body(self, models: Sequence[Model]) -> bytes:
        """Return the body of the list of models."""
        ...

    def model_body(self, model: Model) -> bytes:
        """Return the body that describes one model."""
        ...


EVENT_STREAM = "text/event-stream; charset=utf-8"
"""Is the media type of server-sent events (HTML, 9.2)."""

COMMENT = b": keep-alive\n\n"
"""Keeps an event stream alive: every known decoder skips comments, if no `id:` was sent before."""


class ResponseEncoder(Protocol):
    """Encodes the answer of one generation in a dialect, as a stream or whole."""

    @property
    def media_type(self) -> str:
        """Return the media type of a stream; each frame ends with a line end."""
        ...

    def begin(self) -> bytes:
        """Return the first frames of a stream; empty where the dialect has none.

        It is called before all other methods for frames, once the prompt's tokens are estimated.
        """
        ...

    def keep_alive(self) -> bytes:
        """Return a frame that keeps the client waiting while no piece comes."""
        ...

    def pieces(self, batch: Sequence[Piece]) -> bytes:
        """Return the frames of a batch, in order."""
        ...

    def end(self) -> bytes:
        """Return the last frames of a stream that is complete."""
        ...

    def error(self, error: GatewayError) -> bytes:
        """Return the last frame of a stream that failed."""
        ...

    def whole(self, pieces: Sequence[Piece]) -> bytes:
        """Return the body of an answer that is not streamed."""
        ...


class Endpoint(Protocol):
    """Parses the body of one route and encodes its answer."""

    def parse(self, body: bytes) -> GenerationRequest:
        """Parse a request's body. Raises InvalidRequest."""
        ...

    def encoder(self, generation: Generation) -> ResponseEncoder:
        """Return an encoder for the answer of one generation."""
        ...


class ConversationEndpoint(Endpoint, Protocol):
    """Reads conversations; its bodies may come to routes of other dialects."""

    def read(self, data: dict[str, Any]) -> GenerationRequest:
        """Read the parsed JSON object of a body. Raises InvalidRequest."""
        ...
