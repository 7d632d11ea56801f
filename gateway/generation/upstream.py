"""Defines the interface of the upstream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.generation.model import Model
from gateway.generation.pieces import Sink
from gateway.generation.request import Generation, GenerationRequest


class Upstream(Protocol):
    """Describes a service that answers generation requests."""

    def resolve(self, name: str | None) -> Model:
        """Find the model of a name; None is the default. Raises NotFound."""
        ...

    def models(self) -> Sequence[Model]:
        """Return the models offered now, from memory, each with the size of its context."""
        ...

    def described(self, model: Model) -> Model:
        """Return a model with the size of its context, as far as it is known now."""
        ...

    def estimate_prompt(self, request: GenerationRequest) -> int:
        """Estimate the tokens of a prompt, without writing it. Raises NotFound for its model."""
        ...

    async def generate(self, generation: Generation, sink: Sink) -> None:
        """Generate an answer; the sink gets its batches as they arrive.

        `stop` and `max_tokens` are applied, `response_format` as far as possible. Returns when
        the answer is whole. Raises a GatewayError when it is not, after the sink got what
        came before. In each case the upstream is closed, and the outcome of the generation
        has the result.
        """
        ...
