"""Parses the body of Anthropic's Messages into a generation request."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.apis.anthropic.messages import Content, MessageParameter, parse_messages, parse_system
from gateway.apis.anthropic.messages_response import MessageEncoder
from gateway.apis.anthropic.tools import (
    ToolChoiceParameter,
    ToolParameter,
    absence_note,
    parse_tools,
)
from gateway.apis.json_body import convert, parse_object
from gateway.apis.parameters import (
    WholeNumber,
    ignored_parameters,
    missing_parameter,
    stop_strings,
    unsupported,
    whole_number,
)
from gateway.apis.schema_depth import check_schema_depth
from gateway.errors import InvalidRequest, NotFound
from gateway.generation.request import Generation, GenerationRequest, Message, ResponseFormat
from gateway.images.sniff import ImageLimits

_SCHEMA_NAME = "response"  # the dialect has no name of a schema


class _Thinking(msgspec.Struct):
    """Declares `thinking`. Its budget has no effect: Fitten decides how long a model thinks."""

    type: str
    display: str | None = None


class _Format(msgspec.Struct):
    """Declares the form of the answer."""

    type: str
    schema: dict[str, Any] | None = None


class _OutputConfig(msgspec.Struct):
    """Declares `output_config`; its effort has no effect."""

    format: _Format | None = None


class _Thread(msgspec.Struct):
    """Declares `thread`, by which a client lets a server keep the conversation."""

    type: str | None = None


class _MessagesBody(msgspec.Struct):
    """Declares the parameters that have an effect. Others may have any type."""

    messages: list[MessageParameter]
    model: str | None = None
    system: Content | None = None
    max_tokens: WholeNumber | None = None
    stream: bool | None = None
    stop_sequences: list[str | None] | None = None
    tools: list[ToolParameter] | None = None
    tool_choice: ToolChoiceParameter | None = None
    thinking: _Thinking | None = None
    output_config: _OutputConfig | None = None
    output_format: _Format | None = None
    mcp_servers: Any = None
    thread: _Thread | None = None


# What is here and not in the struct has nothing to do with the answer: it is about caches,
# accounts, and thoughts of earlier answers, which are never part of the prompt.
_SUPPORTED = frozenset(
    (
        *_MessagesBody.__struct_fields__,
        "betas",
        "cache_control",
        "context_management",
        "metadata",
        "service_tier",
    )
)


class Messages:
    """Serves POST /v1/messages.

    images: how large an image may be.
    """

    def __init__(self, images: ImageLimits | None = None) -> None:
        self._images = images or ImageLimits()

    def parse(self, body: bytes) -> GenerationRequest:
        """Parse a body. Raises InvalidRequest that names the wrong field."""
        return self.read(parse_object(body))

    def read(self, data: dict[str, Any]) -> GenerationRequest:
        """Read the object of a body. Raises InvalidRequest that names the wrong field."""
        given = convert(data, _MessagesBody)
        if not given.messages:
            raise InvalidRequest("'messages' must not be empty.", param="messages")
        if given.mcp_servers:
            raise InvalidRequest(
                "The gateway calls no MCP servers; let the client offer their tools.",
                code="unsupported_value",
                param="mcp_servers",
            )
        if given.thread:
            raise _no_thread(given.thread)
        tools, choice, absent = parse_tools(given.tools, given.tool_choice)
        system = [parse_system(given.system, self._images)]
        if absent:
            system.append(absence_note(absent))
        serial = given.tool_choice is not None and given.tool_choice.disable_parallel_tool_use
        return GenerationRequest(
            messages=(
                *[Message("system", text) for text in system if text],
                *parse_messages(given.messages, self._images),
            ),
            model=given.model or None,
            stop=stop_strings(given.stop_sequences, "stop_sequences"),
            max_tokens=_limit(given.max_tokens),
            stream=bool(given.stream),
            include_usage=True,
            response_format=_response_format(given),
            ignored=ignored_parameters(data, _SUPPORTED),
            tools=tools,
            tool_choice=choice,
            parallel_tool_calls=not serial,
            reasoning=_wants_reasoning(given.thinking),
            keeps_reserve=True,
        )

    def encoder(self, generation: Generation) -> MessageEncoder:
        return MessageEncoder(generation)


def _no_thread(given: _Thread) -> InvalidRequest:
    """Return the error by which Anthropic's SDKs send the whole conversation instead.

    Their runners of tools begin with a thread, and go on with the new messages alone.
    """
    why = "Nothing is stored here, so there are no threads; send the whole conversation"
    if given.type == "continue":
        param = "thread.previous_message_id"
        return NotFound(f"{why} in 'messages'.", code="thread_not_found", param=param)
    return InvalidRequest(
        f"{why} without 'thread'.", code="thread_unsupported_request", param="thread"
    )


def _limit(given: WholeNumber | None) -> int | None:
    """Return the limit of tokens; None for no limit. Anthropic's API requires one."""
    limit = 0 if given is None else whole_number(given, "max_tokens")
    return limit if limit > 0 else None


def _wants_reasoning(given: _Thinking | None) -> bool:
    if given is None or given.display == "omitted":
        return False
    if given.type not in ("enabled", "adaptive", "disabled"):
        raise unsupported("thinking.type", "'enabled', 'adaptive' or 'disabled'")
    return given.type != "disabled"


def _response_format(given: _MessagesBody) -> ResponseFormat | None:
    """Return the form of the answer; the name of the parameter has changed once."""
    wanted, path = given.output_format, "output_format"
    if given.output_config is not None and given.output_config.format is not None:
        wanted, path = given.output_config.format, "output_config.format"
    if wanted is None:
        return None
    if wanted.type != "json_schema":
        raise unsupported(f"{path}.type", "'json_schema'")
    if wanted.schema is None:
        raise missing_parameter(f"{path}.schema")
    check_schema_depth(wanted.schema, f"{path}.schema")
    return ResponseFormat(schema=wanted.schema, name=_SCHEMA_NAME)
