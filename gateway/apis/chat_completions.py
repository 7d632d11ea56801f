"""OpenAI's chat completions: a body -> a generation, pieces -> chunks or an object."""

from __future__ import annotations

import itertools
import operator
import os
import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from gateway.apis import response_format
from gateway.apis.openai import StreamOptions, error_object, ignored, stop_strings, usage_object
from gateway.errors import GatewayError, InvalidRequest
from gateway.generation import Generation, GenerationRequest, Message, Piece, Usage
from gateway.jsonbody import parse_object, shape

_KIND = operator.itemgetter(0)
_encode = msgspec.json.Encoder().encode
_MAX_STOP = 4


class _Part(msgspec.Struct):
    type: str
    text: str | None = None


class _Message(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[_Part] | None = None
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


_Count = Annotated[int, msgspec.Meta(ge=-1)]  # -1 is llama.vscode's word for no limit


class _Body(msgspec.Struct):
    """The parameters whose types are checked; those from `frequency_penalty` on have no
    counterpart in the upstream."""

    messages: list[_Message]
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

    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: dict[str, float] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    functions: list[dict[str, Any]] | None = None


_CARRIED_OUT = frozenset(
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
    )
)


class ChatCompletions:
    """POST /v1/chat/completions."""

    def parse(self, body: bytes) -> GenerationRequest:
        """What the body asks for. Raises InvalidRequest that names the field at fault."""
        data = parse_object(body)
        given = shape(data, _Body)
        if not given.messages:
            raise InvalidRequest("'messages' must not be empty.", param="messages")
        if given.n not in (None, 1):
            raise InvalidRequest(
                "Only one choice can be generated: 'n' must be 1.",
                code="unsupported_value",
                param="n",
            )
        options = given.stream_options
        return GenerationRequest(
            messages=tuple(_message(m, f"messages[{i}]") for i, m in enumerate(given.messages)),
            model=given.model or None,
            stop=stop_strings(given.stop, most=_MAX_STOP),
            max_tokens=_limit(given),
            stream=bool(given.stream),
            include_usage=bool(options and options.include_usage),
            response_format=response_format.parse(given.response_format),
            ignored=ignored(data, _CARRIED_OUT),
        )

    def reply(self, generation: Generation) -> ChatReply:
        return ChatReply(generation)


class ChatReply:
    """One answer, as chunks or as an object; id, created and model are the same in all of it."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._id = f"chatcmpl-{os.urandom(16).hex()}"
        self._created = int(time.time())
        # A frame is ready-made bytes round the one thing that changes, the piece's text.
        head = msgspec.json.encode(self._head("chat.completion.chunk"))[:-1]
        opening = b"data: " + head + b',"choices":[{"index":0,"delta":{'
        self._usage = b',"usage":null' if generation.request.include_usage else b""
        self._tail = b'},"logprobs":null,"finish_reason":null}]' + self._usage + b"}\n\n"
        self._opening = opening
        self._openings = {
            "content": opening + b'"content":',
            "reasoning": opening + b'"reasoning_content":',
        }

    def begin(self) -> bytes:
        return self._opening + b'"role":"assistant","content":""' + self._tail

    def pieces(self, batch: Sequence[Piece]) -> bytes:
        """A run of pieces of one kind costs one join: what stands between two of their texts
        is always the same."""
        frames: list[bytes] = []
        for kind, run in itertools.groupby(batch, _KIND):
            opening = self._openings[kind]
            texts = (self._tail + opening).join([_encode(text) for _, text in run])
            frames += (opening, texts, self._tail)
        return b"".join(frames)

    def end(self) -> bytes:
        reason = msgspec.json.encode(self._generation.finish_reason)
        frames = [
            self._opening,
            b'},"logprobs":null,"finish_reason":',
            reason,
            b"}]" + self._usage + b"}\n\n",
        ]
        if self._generation.request.include_usage:
            last = self._head("chat.completion.chunk")
            last |= {"choices": [], "usage": usage_object(self._counted)}
            frames.append(b"data: " + msgspec.json.encode(last) + b"\n\n")
        frames.append(b"data: [DONE]\n\n")
        return b"".join(frames)

    def error(self, error: GatewayError) -> bytes:
        return b"data: " + msgspec.json.encode(error_object(error)) + b"\n\n"

    def whole(self, pieces: Sequence[Piece]) -> bytes:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": "".join(text for kind, text in pieces if kind == "content"),
            "refusal": None,
            "annotations": [],
        }
        if reasoning := "".join(text for kind, text in pieces if kind == "reasoning"):
            message["reasoning_content"] = reasoning
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": self._generation.finish_reason,
        }
        answer = self._head("chat.completion")
        answer |= {
            "choices": [choice],
            "usage": usage_object(self._counted),
            "service_tier": "default",
        }
        return msgspec.json.encode(answer)

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._generation.model_name,
            "system_fingerprint": None,
        }

    @property
    def _counted(self) -> Usage:
        return self._generation.usage or Usage(0, 0)


def _message(given: _Message, path: str) -> Message:
    role = given.role
    text = _text(given.content, f"{path}.content")
    if text is None:
        if role != "assistant":
            raise InvalidRequest(
                f"'{path}.content' must be text.", code="invalid_type", param=f"{path}.content"
            )
        text = ""
    if role in ("system", "developer"):
        return Message("system", text)
    if role in ("tool", "function"):
        return Message("tool", text, given.tool_call_id or given.name)
    return Message("assistant" if role == "assistant" else "user", text)


def _text(content: str | list[_Part] | None, path: str) -> str | None:
    if not isinstance(content, list):
        return content
    texts = []
    for index, part in enumerate(content):
        here = f"{path}[{index}]"
        if part.type != "text":
            raise InvalidRequest(
                f"Parts of type {part.type[:40]!r} are not supported; send text.",
                code="unsupported_value",
                param=f"{here}.type",
            )
        if part.text is None:
            raise InvalidRequest(
                f"Missing required parameter: '{here}.text'.",
                code="missing_required_parameter",
                param=f"{here}.text",
            )
        texts.append(part.text)
    return "\n".join(texts)


def _limit(given: _Body) -> int | None:
    limits = {
        "max_completion_tokens": given.max_completion_tokens,
        "max_tokens": given.max_tokens,
    }
    for name, count in limits.items():
        if count == 0:
            raise InvalidRequest(f"{name!r} must be at least 1.", code="invalid_type", param=name)
    count = limits["max_completion_tokens"] or limits["max_tokens"]
    return count if count is not None and count > 0 else None
