"""Builds the objects of OpenAI's Responses API: responses, their items, usage and errors."""

from __future__ import annotations

import math
import os
import time
from typing import Any

import msgspec

from gateway.errors import GatewayError, RateLimited
from gateway.generation.outcome import Usage
from gateway.generation.request import Generation, ResponseFormat, ToolChoice

# Errors that clients act on keep their code; others have one of the codes that OpenAI knows.
_FINAL, _PASSING = "invalid_prompt", "server_error"
_CODES = frozenset(("context_length_exceeded", "insufficient_quota", "server_is_overloaded"))


class ResponseObject:
    """Builds the object of one response; what does not change is the same in all its states."""

    def __init__(self, generation: Generation) -> None:
        request = generation.request
        self._members: dict[str, Any] = {
            "id": new_id("resp"),
            "object": "response",
            "created_at": int(time.time()),
            "status": "in_progress",
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "max_output_tokens": request.max_tokens,
            "metadata": {},
            "model": generation.model_name,
            "output": [],
            "parallel_tool_calls": request.parallel_tool_calls,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": "auto" if request.reasoning else None},
            "service_tier": "default",
            "store": False,
            "temperature": None,
            "text": {"format": _format(request.response_format)},
            "tool_choice": _choice(request.tool_choice),
            "tools": [],
            "top_p": None,
            "truncation": "disabled",
            "usage": None,
            "user": None,
        }

    def begun(self) -> dict[str, Any]:
        """Return the response before it has any output."""
        return self._members

    def ended(self, status: str, output: list[dict[str, Any]], usage: Usage) -> dict[str, Any]:
        """Return the response with its output, "completed" or "incomplete" for its length."""
        cut = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return self._members | {
            "status": status,
            "incomplete_details": cut,
            "output": output,
            "usage": usage_object(usage),
        }

    def failed(
        self, error: GatewayError, output: list[dict[str, Any]], usage: Usage | None
    ) -> dict[str, Any]:
        """Return the response that has failed, with the items that were complete before."""
        return self._members | {
            "status": "failed",
            "error": error_object(error),
            "output": output,
            "usage": None if usage is None else usage_object(usage),
        }


def new_id(prefix: str) -> str:
    """Return an id that no other object has."""
    return f"{prefix}_{os.urandom(16).hex()}"


def message_item(item_id: str, text: str, status: str) -> dict[str, Any]:
    """Return the item of a text."""
    return {
        "id": item_id,
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [text_part(text)],
    }


def text_part(text: str) -> dict[str, Any]:
    """Return the part of a message that is a text."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def reasoning_item(item_id: str, summary: str | None) -> dict[str, Any]:
    """Return the item of the model's thoughts; None for no summary yet."""
    parts = [] if summary is None else [summary_part(summary)]
    return {"id": item_id, "type": "reasoning", "summary": parts}


def summary_part(text: str) -> dict[str, Any]:
    """Return a part of a summary of thoughts."""
    return {"type": "summary_text", "text": text}


def usage_object(usage: Usage) -> dict[str, Any]:
    """Return the `usage` member of a response."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def error_object(error: GatewayError) -> dict[str, Any]:
    """Return the `error` member of a response that failed.

    Codex takes how long to wait from the message of a limit: there are no headers any more. It
    repeats what failed, unless the code says that this is in vain. Of these codes only
    `invalid_prompt` makes it show the message.
    """
    message = error.message
    if error.code in _CODES:
        code = str(error.code)
    elif error.is_final:
        code = _FINAL
    elif isinstance(error, RateLimited):
        code = "rate_limit_exceeded"
        if error.retry_after is not None:
            message += f" Please try again in {max(1, math.ceil(error.retry_after))}s."
    else:
        code = _PASSING
    return {"code": code, "message": message}


def _format(given: ResponseFormat | None) -> dict[str, Any]:
    if given is None:
        return {"type": "text"}
    if given.is_object:
        return {"type": "json_object"}
    return {
        "type": "json_schema",
        "name": given.name,
        "description": given.description or None,
        "schema": given.schema or {},
        "strict": False,
    }


def _choice(choice: ToolChoice) -> str | dict[str, str]:
    if choice.mode == "named":
        return {"type": "function", "name": choice.name or ""}
    return choice.mode


def response_token_count(tokens: int) -> bytes:
    """Return the body of an answer of POST /v1/responses/input_tokens."""
    return msgspec.json.encode({"object": "response.input_tokens", "input_tokens": tokens})
