"""Parses the body of OpenAI's Responses API into a generation request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from gateway.apis.json_body import convert, parse_object
from gateway.apis.openai.parameters import (
    WholeNumber,
    ignored_parameters,
    missing_parameter,
    whole_number,
)
from gateway.apis.openai.response_format import parse_response_format
from gateway.apis.openai.responses.events import ResponsesEncoder
from gateway.apis.openai.responses.input_items import InputItem, parse_input
from gateway.apis.openai.responses.tools import ResponsesTool, parse_choice, parse_tools
from gateway.apis.openai.tools import ToolChoiceObject
from gateway.apis.route_hints import route_hint
from gateway.errors import InvalidRequest
from gateway.generation.request import Generation, GenerationRequest, Message
from gateway.images.sniff import ImageLimits


class _Text(msgspec.Struct):
    """Declares the member `text`."""

    format: dict[str, Any] | None = None


class _ReasoningOptions(msgspec.Struct):
    """Declares the member `reasoning`; `generate_summary` is the older name."""

    summary: str | None = None
    generate_summary: str | None = None


class _ResponsesBody(msgspec.Struct):
    """Declares the parameters that have an effect. Others may have any type."""

    input: str | list[InputItem] | None = None
    instructions: str | None = None
    model: str | None = None
    stream: bool | None = None
    tools: list[ResponsesTool] | None = None
    tool_choice: str | ToolChoiceObject | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: WholeNumber | None = None
    text: _Text | None = None
    reasoning: _ReasoningOptions | None = None
    background: bool | None = None


# The last two rows have no effect, and need none: the answer is the same without them.
_SUPPORTED = frozenset(
    (
        *("input", "instructions", "model", "stream", "tools", "tool_choice", "text", "reasoning"),
        *("parallel_tool_calls", "max_output_tokens", "background", "previous_response_id"),
        *("conversation", "prompt"),
        *("store", "include", "metadata", "client_metadata", "prompt_cache_key", "user"),
        *("stream_options", "truncation", "service_tier", "safety_identifier"),
    )
)
_STORED = {
    "previous_response_id": (
        "previous_response_not_found",
        "Nothing is stored here, so there is no earlier response; send the whole conversation "
        "in 'input'.",
    ),
    "conversation": (
        "unsupported_value",
        "Nothing is stored here, so there are no conversations; send all items in 'input'.",
    ),
    "prompt": (
        "unsupported_value",
        "Nothing is stored here, so there are no prompts; send the text in 'instructions'.",
    ),
}


class Responses:
    """Serves POST /v1/responses.

    images: how large an image may be.
    """

    def __init__(self, images: ImageLimits | None = None) -> None:
        self._images = images or ImageLimits()

    def parse(self, body: bytes) -> GenerationRequest:
        """Parse a body. Raises InvalidRequest that names the wrong field."""
        return self.read(parse_object(body))

    def read(self, data: dict[str, Any]) -> GenerationRequest:
        """Read the object of a body. Raises InvalidRequest that names the wrong field."""
        _refuse_stored(data)
        given = convert(data, _ResponsesBody)
        if given.input is None:
            raise missing_parameter("input", route_hint(data, "input"))
        if given.background:
            raise InvalidRequest(
                "Answers are not made in the background here: 'background' must be false.",
                code="unsupported_value",
                param="background",
            )
        items = () if isinstance(given.input, str) else given.input
        offered = parse_tools(given.tools, _found_tools(items))
        tools, choice = parse_choice(given.tool_choice, offered)
        messages = parse_input(given.input, offered, self._images)
        if given.instructions:
            messages.insert(0, Message("system", given.instructions))
        if not messages:
            raise InvalidRequest("'input' must not be empty.", param="input")
        reasoning = given.reasoning or _ReasoningOptions()
        return GenerationRequest(
            messages=_with_notes(messages, offered.notes),
            model=given.model or None,
            max_tokens=_limit(given.max_output_tokens),
            stream=bool(given.stream),
            include_usage=True,
            response_format=parse_response_format(
                given.text.format if given.text else None, param="text.format", flat=True
            ),
            ignored=ignored_parameters(data, _SUPPORTED),
            tools=tools,
            tool_choice=choice,
            parallel_tool_calls=given.parallel_tool_calls is not False,
            reasoning=bool(reasoning.summary or reasoning.generate_summary),
            keeps_reserve=True,
        )

    def encoder(self, generation: Generation) -> ResponsesEncoder:
        return ResponsesEncoder(generation)


def _refuse_stored(data: dict[str, Any]) -> None:
    for name, (code, message) in _STORED.items():
        if data.get(name) is not None:
            raise InvalidRequest(message, code=code, param=name)


def _found_tools(items: Sequence[InputItem]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the tools that searches have found, and where they are."""
    for index, item in enumerate(items):
        if item.type == "tool_search_output" and item.tools:
            yield f"input[{index}].tools", item.tools


def _with_notes(messages: Sequence[Message], notes: Sequence[str]) -> tuple[Message, ...]:
    """Return the messages with notes behind the leading system messages."""
    if not notes:
        return tuple(messages)
    count = 0
    while count < len(messages) and messages[count].role == "system":
        count += 1
    note = Message("system", "\n".join(notes))
    return (*messages[:count], note, *messages[count:])


def _limit(given: WholeNumber | None) -> int | None:
    limit = 0 if given is None else whole_number(given, "max_output_tokens")
    return limit if limit > 0 else None
