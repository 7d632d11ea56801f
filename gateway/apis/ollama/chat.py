"""Parses the body of Ollama's chats into a generation request."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.apis.json_body import convert, parse_object
from gateway.apis.ollama.messages import OllamaMessage, parse_messages
from gateway.apis.ollama.parameters import (
    OllamaOptions,
    parse_format,
    stops_of,
    token_limit,
    wants_reasoning,
    without_effect,
)
from gateway.apis.ollama.response import OllamaChatEncoder
from gateway.apis.ollama.tools import OllamaTool, parse_tools
from gateway.generation.request import Generation, GenerationRequest
from gateway.images.sniff import ImageLimits


class _OllamaChatBody(msgspec.Struct):
    """Declares the parameters that have an effect. Others may have any type."""

    messages: list[OllamaMessage] | None = None
    model: str | None = None
    stream: bool | None = None
    tools: list[OllamaTool] | None = None
    format: str | dict[str, Any] | None = None
    options: OllamaOptions | None = None
    think: bool | str | None = None


# Every model stays ready, whatever `keep_alive` says.
_SUPPORTED = frozenset((*_OllamaChatBody.__struct_fields__, "keep_alive"))


class OllamaChat:
    """Serves POST /api/chat.

    images: how large an image may be.
    """

    def __init__(self, images: ImageLimits | None = None) -> None:
        self._images = images or ImageLimits()

    def parse(self, body: bytes) -> GenerationRequest:
        """Parse a body. Raises InvalidRequest that names the wrong field.

        Without messages it asks for nothing: clients load a model so.
        """
        data = parse_object(body)
        given = convert(data, _OllamaChatBody)
        messages = parse_messages(given.messages or (), self._images)
        return GenerationRequest(
            messages=messages,
            model=given.model or None,
            stop=stops_of(given.options),
            max_tokens=token_limit(given.options),
            stream=bool(messages) and given.stream is not False,
            include_usage=True,
            response_format=parse_format(given.format),
            ignored=without_effect(data, _SUPPORTED),
            tools=parse_tools(given.tools),
            reasoning=wants_reasoning(given.think),
        )

    def encoder(self, generation: Generation) -> OllamaChatEncoder:
        return OllamaChatEncoder(generation)
