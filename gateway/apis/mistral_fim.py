"""Implements Mistral's fill-in-the-middle route, which answers like a chat completion."""

from __future__ import annotations

from gateway.apis.openai.chat_response import ChatResponseEncoder
from gateway.apis.openai.completions import TextCompletions
from gateway.errors import InvalidRequest
from gateway.generation.request import Generation, GenerationRequest


class MistralFim:
    """Serves POST /v1/fim/completions: a completion's body, a chat completion's answer."""

    def __init__(self) -> None:
        self._completions = TextCompletions()

    def parse(self, body: bytes) -> GenerationRequest:
        """Parse a body. Raises InvalidRequest that names the wrong field."""
        request = self._completions.parse(body)
        if len(request.fills) > 1:
            raise InvalidRequest(
                "'prompt' must be one text.", code="unsupported_value", param="prompt"
            )
        return request

    def encoder(self, generation: Generation) -> ChatResponseEncoder:
        return ChatResponseEncoder(generation)
