"""Parses the body of OpenAI's chat completions into a generation request."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from gateway.apis.json_body import convert, parse_object
from gateway.apis.openai import content_parts, response_format, tool_calls
from gateway.apis.openai.chat_response import ChatResponseEncoder
from gateway.apis.openai.parameters import StreamOptions, ignored_parameters, stop_strings
from gateway.errors import InvalidRequest
from gateway.generation.request import (
    Generation,
    GenerationRequest,
    Image,
    Message,
    RemoteImage,
)
from gateway.images.sniff import ImageLimits

_MAX_STOP = 4


class _ChatMessage(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[content_parts.ContentPart] | None = None
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: list[tool_calls.MessageToolCall] | None = None


_Count = Annotated[int, msgspec.Meta(ge=-1)]  # for llama.vscode -1 means no limit


class _ChatBody(msgspec.Struct):
    """Declares the parameters whose types are checked.

    Those from `frequency_penalty` on have no effect: Fitten has no such parameters.
    """

    messages: list[_ChatMessage]
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: str | list[str] | None = None
    max_tokens: _Count | None = None
    max_completion_tokens: _Count | None = None
    n: int | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    tools: list[tool_calls.ToolDefinition] | None = None
    tool_choice: str | tool_calls.NamedToolChoice | None = None
    parallel_tool_calls: bool | None = None

    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: dict[str, float] | None = None
    functions: list[dict[str, Any]] | None = None


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
        data = parse_object(body)
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
        tools = tool_calls.parse_tools(given.tools)
        return GenerationRequest(
            messages=tuple(
                _message(m, f"messages[{i}]", self._images) for i, m in enumerate(given.messages)
            ),
            model=given.model or None,
            stop=stop_strings(given.stop, most=_MAX_STOP),
            max_tokens=_limit(given),
            stream=bool(given.stream),
            include_usage=bool(options and options.include_usage),
            response_format=response_format.parse_response_format(given.response_format),
            ignored=ignored_parameters(data, _SUPPORTED),
            tools=tools,
            tool_choice=tool_calls.parse_tool_choice(given.tool_choice, tools),
            parallel_tool_calls=given.parallel_tool_calls is not False,
        )

    def encoder(self, generation: Generation) -> ChatResponseEncoder:
        return ChatResponseEncoder(generation)


def _message(given: _ChatMessage, path: str, limits: ImageLimits) -> Message:
    role = given.role
    here = f"{path}.content"
    images: tuple[Image | RemoteImage, ...] = ()
    text = given.content
    if isinstance(text, list):
        images = content_parts.images(
            text, here, limits, allowed=role in ("user", "tool", "function")
        )
        text = content_parts.text(text, here)
    if text is None:
        if role != "assistant":
            raise InvalidRequest(f"'{here}' must be text.", code="invalid_type", param=here)
        text = ""
    if role in ("system", "developer"):
        return Message("system", text)
    if role in ("tool", "function"):
        return Message("tool", text, given.tool_call_id or given.name, images=images)
    if role == "assistant":
        return Message(
            "assistant",
            text,
            calls=tool_calls.parse_tool_calls(given.tool_calls, f"{path}.tool_calls"),
        )
    return Message("user", text, images=images)


def _limit(given: _ChatBody) -> int | None:
    limits = {
        "max_completion_tokens": given.max_completion_tokens,
        "max_tokens": given.max_tokens,
    }
    for name, count in limits.items():
        if count == 0:
            raise InvalidRequest(f"{name!r} must be at least 1.", code="invalid_type", param=name)
    count = limits["max_completion_tokens"] or limits["max_tokens"]
    return count if count is not None and count > 0 else None
