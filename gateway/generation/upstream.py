"""Defines the interface of the upstream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.generation.model import Model
from gateway.generation.outcome import Generation
from gateway.generation.pieces import Answer, Silence


class Upstream(Protocol):
    """Describes a service that answers generation requests."""

    def resolve(self, name: str | None) -> Model:
        """Find the model of a name; None is the default. Raises NotFound."""
        ...

    def models(self) -> Sequence[Model]:
        """Return the models offered now, from memory."""
        ...

    def generate(self, generation: Generation, silence: Silence | None = None) -> Answer:
        """Generate an answer; its batches come as they arrive, none of them empty.

        `stop` and `max_tokens` are applied, `response_format` as far as possible. When the
        context of the answer is left, `generation` has `usage` and `finish_reason`. The
        iteration raises a GatewayError when the answer is not whole.
        """
        ...
