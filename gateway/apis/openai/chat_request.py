"""Parses the body of OpenAI's chat completions into a generation request."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.apis.json_body import convert, parse_object
from gateway.apis.openai import response_format
from gateway.apis.openai.chat_response import ChatResponseEncoder
from gateway.apis.openai.messages import ChatMessage, parse_messages
from gateway.apis.openai.parameters import (
    StreamOptions,
    WholeNumber,
    ignored_parameters,
    stop_strings,
    whole_number,
)
from gateway.apis.openai.tools import (
    FunctionDefinition,
    NamedFunction,
    ToolChoiceObject,
    ToolDefinition,
    parse_functions,
    parse_tools,
)
from gateway.errors import InvalidRequest
from gateway.generation.request import Generation, GenerationRequest, Tool, ToolChoice
from gateway.images.sniff import ImageLimits


class _ChatBody(msgspec.Struct):
    """Declares the parameters that have an effect. Others may have any type."""

    messages: list[ChatMessage]
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: str | list[str | None] | None = None
    max_tokens: WholeNumber | None = None
    max_completion_tokens: WholeNumber | None = None
    n: WholeNumber | None = None
    response_format: dict[str, Any] | None = None
    tools: list[ToolDefinition] | None = None
    tool_choice: str | ToolChoiceObject | None = None
    parallel_tool_calls: bool | None = None
    functions: list[FunctionDefinition] | None = None
    function_call: str | NamedFunction | None = None


_SUPPORTED = frozenset(
    (
        "messages",
        "model",
        "stream",
        "stream_options",
        "stop",
        "max_tokens",
        "max_completion_tokens",
        "n",
        "user",
        "metadata",
        "response_format",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "functions",
        "function_call",
    )
)


class ChatCompletions:
    """Serves POST /v1/chat/completions.

    images: how large an image may be.
    """

    def __init__(self, images: ImageLimits | None = None) -> None:
        self._images = images or ImageLimits()

    def parse(self, body: bytes) -> GenerationRequest:
        """Parse a body. Raises InvalidRequest that names the wrong field."""
        return self.read(parse_object(body))

    def read(self, data: dict[str, Any]) -> GenerationRequest:
        """Read the object of a body. Raises InvalidRequest that names the wrong field."""
        given = convert(data, _ChatBody)
        if not given.messages:
            raise InvalidRequest("'messages' must not be empty.", param="messages")
        if given.n not in (None, 1):
            raise InvalidRequest(
                "Only one choice can be generated: 'n' must be 1.",
                code="unsupported_value",
                param="n",
            )
        options = given.stream_options
        tools: tuple[Tool, ...] = ()
        choice = ToolChoice()
        if given.tools or given.tool_choice is not None:  # most requests have neither
            tools, choice = parse_tools(given.tools, given.tool_choice)
        by_function = bool(given.functions) and not tools
        if by_function:
            tools, choice = parse_functions(given.functions, given.function_call)
        return GenerationRequest(
            messages=parse_messages(given.messages, self._images),
            model=given.model or None,
            stop=stop_strings(given.stop) if given.stop else (),
            max_tokens=_limit(given),
            stream=bool(given.stream),
            include_usage=bool(options and options.include_usage),
            response_format=response_format.parse_response_format(given.response_format),
            ignored=ignored_parameters(data, _SUPPORTED),
            tools=tools,
            tool_choice=choice,
            parallel_tool_calls=given.parallel_tool_calls is not False and not by_function,
            function_call=by_function,
        )

    def encoder(self, generation: Generation) -> ChatResponseEncoder:
        return ChatResponseEncoder(generation)


def _limit(given: _ChatBody) -> int | None:
    """Return the limit of tokens; None for no limit, which clients also write as 0 or -1."""
    older = newer = 0
    if given.max_tokens is not None:
        older = whole_number(given.max_tokens, "max_tokens")
    if given.max_completion_tokens is not None:
        newer = whole_number(given.max_completion_tokens, "max_completion_tokens")
    limit = newer if newer > 0 else older
    return limit if limit > 0 else None
