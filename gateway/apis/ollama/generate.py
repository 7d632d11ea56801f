"""Parses the body of Ollama's POST /api/generate: a question, or a text with a gap."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.apis import fim_templates
from gateway.apis.fills import ParsedFill, completion_limit, ending_markers, parse_fill
from gateway.apis.json_body import convert, parse_object
from gateway.apis.ollama.messages import parse_images
from gateway.apis.ollama.parameters import (
    OllamaOptions,
    parse_format,
    stops_of,
    token_limit,
    wants_reasoning,
    without_effect,
)
from gateway.apis.ollama.response import OllamaGenerateEncoder
from gateway.generation.request import Fill, Generation, GenerationRequest, Message
from gateway.images.sniff import ImageLimits


class _GenerateBody(msgspec.Struct):
    """Declares the parameters that have an effect. Others may have any type."""

    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    raw: bool | None = None
    images: list[str] | None = None
    model: str | None = None
    stream: bool | None = None
    format: str | dict[str, Any] | None = None
    options: OllamaOptions | None = None
    think: bool | str | None = None


# Every model stays ready, whatever `keep_alive` says.
_SUPPORTED = frozenset((*_GenerateBody.__struct_fields__, "keep_alive"))


class OllamaGenerate:
    """Serves POST /api/generate.

    A suffix, or the markers of a notation in the prompt or the template, ask for a completion at
    the cursor. Another prompt is a question, also with `raw`, if it ends with the marker of a turn.

    images: how large an image may be.
    """

    def __init__(self, images: ImageLimits | None = None) -> None:
        self._images = images or ImageLimits()

    def parse(self, body: bytes) -> GenerationRequest:
        """Parse a body. Raises InvalidRequest that names the wrong field.

        Without a prompt it asks for nothing: clients load a model so.
        """
        data = parse_object(body)
        given = convert(data, _GenerateBody)
        limit = token_limit(given.options)
        stop = stops_of(given.options)
        fill = _fill(given)
        messages: tuple[Message, ...] = ()
        if fill is not None:
            stop = (*stop, *ending_markers([fill]))
            limit = completion_limit(limit, "options.num_predict")
        elif given.prompt or given.images:
            messages = self._messages(given)
        return GenerationRequest(
            messages=messages,
            fills=() if fill is None else (fill[0],),
            model=given.model or None,
            stop=stop,
            max_tokens=limit,
            stream=bool(messages or fill) and given.stream is not False,
            include_usage=True,
            response_format=parse_format(given.format),
            ignored=without_effect(data, _SUPPORTED),
            reasoning=wants_reasoning(given.think),
        )

    def encoder(self, generation: Generation) -> OllamaGenerateEncoder:
        return OllamaGenerateEncoder(generation)

    def _messages(self, given: _GenerateBody) -> tuple[Message, ...]:
        images = parse_images(given.images, "images", self._images)
        user = Message("user", given.prompt or "", images=images)
        return (Message("system", given.system), user) if given.system else (user,)


def _fill(given: _GenerateBody) -> ParsedFill | None:
    """Return the gap that the body asks to fill; None for a question."""
    prompt, suffix = given.prompt or "", given.suffix or ""
    if suffix:
        return parse_fill(prompt, suffix)
    if not prompt:
        return None
    if found := fim_templates.parse_fim_prompt(prompt):
        return found
    if given.template and (markers := _markers_of(given.template)):
        return Fill(prompt, ""), markers
    if given.raw and not fim_templates.ends_turn(prompt):
        return parse_fill(prompt, None)
    return None


def _markers_of(template: str) -> tuple[str, ...]:
    """Return the markers of a template that always asks for a completion, else none."""
    if "{{if" in template.replace(" ", "").replace("-", ""):
        return ()  # the suffix decides
    found = fim_templates.parse_fim_prompt(template)
    return found[1] if found else ()
