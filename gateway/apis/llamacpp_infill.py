"""Implements llama.cpp's /infill, as llama.vscode uses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.apis.base import COMMENT, EVENT_STREAM
from gateway.apis.fills import completion_limit
from gateway.apis.json_body import convert, parse_object
from gateway.apis.openai.errors import error_frame
from gateway.apis.parameters import WholeNumber, stop_strings
from gateway.errors import GatewayError
from gateway.generation.pieces import Piece
from gateway.generation.request import Fill, Generation, GenerationRequest


class _InfillBody(msgspec.Struct):
    """Declares the parameters that have an effect.

    `input_extra`, which holds other files, has none, whatever it is: the upstream takes one
    file. llama.cpp does not get the name of the current one.
    """

    input_prefix: str | None = None
    input_suffix: str | None = None
    prompt: str | None = None
    n_predict: WholeNumber | None = None
    stop: str | list[str | None] | None = None
    stream: bool | None = None
    model: str | None = None


class LlamaCppInfill:
    """Serves POST /infill; the cursor is after `input_prefix` and `prompt`."""

    def parse(self, body: bytes) -> GenerationRequest:
        """Parse a body. Raises InvalidRequest that names the wrong field."""
        given = convert(parse_object(body), _InfillBody)
        prefix = (given.input_prefix or "") + (given.prompt or "")
        return GenerationRequest(
            messages=(),
            fills=(Fill(prefix, given.input_suffix or ""),),
            model=given.model or None,
            stop=stop_strings(given.stop),
            max_tokens=completion_limit(given.n_predict, "n_predict"),
            stream=bool(given.stream),
        )

    def encoder(self, generation: Generation) -> InfillEncoder:
        return InfillEncoder(generation)


class InfillEncoder:
    """Encodes an answer with its text under `content`; `stop` is true in the last frame."""

    media_type = EVENT_STREAM

    def __init__(self, generation: Generation) -> None:
        self._generation = generation

    def keep_alive(self) -> bytes:
        return COMMENT

    def begin(self) -> bytes:
        return b""

    def pieces(self, batch: Sequence[Piece]) -> bytes:
        text = "".join(text for kind, text in batch if kind == "content")
        return _frame({"content": text, "stop": False}) if text else b""

    def end(self) -> bytes:
        return _frame(self._last(""))

    def error(self, error: GatewayError) -> bytes:
        return error_frame(error)

    def whole(self, pieces: Sequence[Piece]) -> bytes:
        text = "".join(text for kind, text in pieces if kind == "content")
        return msgspec.json.encode(self._last(text))

    def _last(self, text: str) -> dict[str, Any]:
        outcome = self._generation.outcome
        usage = outcome.usage
        return {
            "content": text,
            "stop": True,
            "stop_type": "limit" if outcome.finish_reasons == ("length",) else "eos",
            "model": self._generation.model_name,
            "tokens_predicted": usage.completion_tokens if usage else 0,
            "tokens_evaluated": usage.prompt_tokens if usage else 0,
            "timings": {},
        }


def _frame(value: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"
