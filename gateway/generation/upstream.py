"""Where answers come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.generation.model import Model
from gateway.generation.outcome import Generation
from gateway.generation.pieces import Answer, Silence


class Upstream(Protocol):
    """Where answers come from."""

    def resolve(self, name: str | None) -> Model:
        """The model a caller means; None is the default. Raises NotFound."""
        ...

    def models(self) -> Sequence[Model]:
        """The models offered now, from memory."""
        ...

    def generate(self, generation: Generation, silence: Silence | None = None) -> Answer:
        """Batches of pieces, as they arrive, none of them empty.

        `stop` and `max_tokens` are carried out, `response_format` as far as can be. Once the
        context is left, `generation` holds `usage` and `finish_reason`. Raises a GatewayError
        instead of ending when the answer is not whole.
        """
        ...
