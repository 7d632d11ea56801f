"""Mistral's fill-in-the-middle route: a completion in the shape of a chat."""

from __future__ import annotations

from gateway.apis.openai.chat_response import ChatResponseEncoder
from gateway.apis.openai.completions import TextCompletions
from gateway.errors import InvalidRequest
from gateway.generation.outcome import Generation
from gateway.generation.request import GenerationRequest


class MistralFim:
    """POST /v1/fim/completions: the body of a completion, the answer of a chat completion."""

    def __init__(self) -> None:
        self._completions = TextCompletions()

    def parse(self, body: bytes) -> GenerationRequest:
        """What the body asks for. Raises InvalidRequest that names the field at fault."""
        asked = self._completions.parse(body)
        if len(asked.fills) > 1:
            raise InvalidRequest(
                "'prompt' must be one text.", code="unsupported_value", param="prompt"
            )
        return asked

    def encoder(self, generation: Generation) -> ChatResponseEncoder:
        return ChatResponseEncoder(generation)
