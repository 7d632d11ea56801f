"""Implements OpenAI's text completions: prompts -> texts to insert at the cursor."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.apis.base import COMMENT, EVENT_STREAM
from gateway.apis.fills import completion_limit, ending_markers, parse_fill
from gateway.apis.json_body import convert, parse_object
from gateway.apis.openai.errors import error_frame
from gateway.apis.openai.parameters import (
    StreamOptions,
    WholeNumber,
    ignored_parameters,
    stop_strings,
)
from gateway.apis.openai.usage import usage_object
from gateway.errors import GatewayError, InvalidRequest
from gateway.generation.outcome import Usage
from gateway.generation.pieces import Piece
from gateway.generation.request import Generation, GenerationRequest

_MAX_PROMPTS = 16


class _CompletionBody(msgspec.Struct):
    """Declares the parameters whose types are checked."""

    prompt: str | list[str | int | list[int]]
    suffix: str | None = None
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: str | list[str | None] | None = None
    max_tokens: WholeNumber | None = None
    echo: bool | None = None
    n: WholeNumber | None = None
    best_of: WholeNumber | None = None
    user: Any = None


class TextCompletions:
    """Serves POST /v1/completions and its other URLs."""

    def parse(self, body: bytes) -> GenerationRequest:
        """Parse a body. Raises InvalidRequest that names the wrong field."""
        data = parse_object(body)
        given = convert(data, _CompletionBody)
        for name, value in (("n", given.n), ("best_of", given.best_of)):
            if value not in (None, 1):
                raise InvalidRequest(
                    f"Only one choice can be generated for a prompt: {name!r} must be 1.",
                    code="unsupported_value",
                    param=name,
                )
        prompts = _prompts(given.prompt)
        parsed = [parse_fill(prompt, given.suffix) for prompt in prompts]
        options = given.stream_options
        return GenerationRequest(
            messages=(),
            fills=tuple(fill for fill, _ in parsed),
            echo=tuple(prompts) if given.echo else (),
            model=given.model or None,
            stop=(*stop_strings(given.stop), *ending_markers(parsed)),
            max_tokens=completion_limit(given.max_tokens, "max_tokens"),
            stream=bool(given.stream),
            include_usage=bool(options and options.include_usage),
            ignored=ignored_parameters(data, frozenset(_CompletionBody.__struct_fields__)),
        )

    def encoder(self, generation: Generation) -> TextCompletionEncoder:
        return TextCompletionEncoder(generation)


class TextCompletionEncoder:
    """Encodes one answer with a choice for each prompt, as chunks or as one object."""

    media_type = EVENT_STREAM

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._id = f"cmpl-{os.urandom(16).hex()}"
        self._created = int(time.time())
        self._choice = 0

    def keep_alive(self) -> bytes:
        return COMMENT

    def begin(self) -> bytes:
        return b""

    def pieces(self, batch: Sequence[Piece]) -> bytes:
        return b"".join(
            self._chunk([_choice(index, text, None)]) for index, text in self._texts(batch) if text
        )

    def end(self) -> bytes:
        reasons = self._generation.outcome.finish_reasons
        frames = [self._chunk([_choice(index, "", reason)]) for index, reason in enumerate(reasons)]
        if self._generation.request.include_usage:
            frames.append(self._chunk([], usage_object(self._counted)))
        return b"".join([*frames, b"data: [DONE]\n\n"])

    def error(self, error: GatewayError) -> bytes:
        return error_frame(error)

    def whole(self, pieces: Sequence[Piece]) -> bytes:
        reasons = self._generation.outcome.finish_reasons
        texts = [""] * len(reasons)
        for index, text in self._texts(pieces):
            texts[index] += text
        choices = [
            _choice(index, text, reason)
            for index, (text, reason) in enumerate(zip(texts, reasons, strict=True))
        ]
        return msgspec.json.encode(self._object(choices, usage_object(self._counted)))

    def _texts(self, pieces: Sequence[Piece]) -> list[tuple[int, str]]:
        texts = []
        for kind, text in pieces:
            if kind == "choice":
                self._choice = int(text)
            else:
                texts.append((self._choice, text))
        return texts

    def _chunk(self, choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> bytes:
        chunk = self._object(choices, usage)
        if not self._generation.request.include_usage:
            del chunk["usage"]
        return b"data: " + msgspec.json.encode(chunk) + b"\n\n"

    def _object(
        self, choices: list[dict[str, Any]], usage: dict[str, Any] | None
    ) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": "text_completion",
            "created": self._created,
            "model": self._generation.model_name,
            "choices": choices,
            "usage": usage,
            "system_fingerprint": None,
        }

    @property
    def _counted(self) -> Usage:
        return self._generation.outcome.usage or Usage(0, 0)


def _choice(index: int, text: str, reason: str | None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": reason}


def _prompts(given: str | list[str | int | list[int]]) -> list[str]:
    prompts = [given] if isinstance(given, str) else given
    texts = [prompt for prompt in prompts if isinstance(prompt, str)]
    if len(texts) < len(prompts):
        raise InvalidRequest(
            "Prompts of token ids cannot be read; send text.",
            code="unsupported_value",
            param="prompt",
        )
    if not 0 < len(texts) <= _MAX_PROMPTS:
        raise InvalidRequest(
            f"'prompt' takes 1 to {_MAX_PROMPTS} texts.", code="unsupported_value", param="prompt"
        )
    return texts
