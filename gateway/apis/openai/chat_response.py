"""Encodes the answers of OpenAI's chat completions: pieces -> chunks or one object."""

from __future__ import annotations

import itertools
import operator
import os
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.apis.base import COMMENT, EVENT_STREAM
from gateway.apis.openai import tool_calls
from gateway.apis.openai.errors import error_frame
from gateway.apis.openai.usage import usage_object
from gateway.errors import GatewayError
from gateway.generation.outcome import Usage
from gateway.generation.pieces import Piece
from gateway.generation.request import Generation

_KIND = operator.itemgetter(0)
_encode = msgspec.json.Encoder().encode


class ChatResponseEncoder:
    """Encodes one answer; id, created and model are the same in all its chunks."""

    media_type = EVENT_STREAM

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._id = f"chatcmpl-{os.urandom(16).hex()}"
        self._created = int(time.time())
        # The bytes of a frame are always the same but for the piece's text: prepared once.
        head = msgspec.json.encode(self._head("chat.completion.chunk"))[:-1]
        opening = b"data: " + head + b',"choices":[{"index":0,"delta":{'
        self._usage = b',"usage":null' if generation.request.include_usage else b""
        self._tail = b'},"logprobs":null,"finish_reason":null}]' + self._usage + b"}\n\n"
        self._opening = opening
        self._openings = {
            "content": opening + b'"content":',
            "reasoning": opening + b'"reasoning_content":',
        }
        by_function = generation.request.function_call
        frames = tool_calls.FunctionCallFrames if by_function else tool_calls.ToolCallFrames
        self._calls: tool_calls.CallFrames = frames()

    def keep_alive(self) -> bytes:
        return COMMENT

    def begin(self) -> bytes:
        return self._opening + b'"role":"assistant","content":""' + self._tail

    def pieces(self, batch: Sequence[Piece]) -> bytes:
        """Return the frames of a batch; consecutive pieces of one kind cost one join.

        The bytes between two texts of the same kind are always the same.
        """
        frames: list[bytes] = []
        for kind, run in itertools.groupby(batch, _KIND):
            if kind not in self._openings:
                for piece in run:
                    frames += (self._opening, self._calls.delta(piece), self._tail)
                continue
            opening = self._openings[kind]
            texts = (self._tail + opening).join([_encode(text) for _, text in run])
            frames += (opening, texts, self._tail)
        return b"".join(frames)

    def end(self) -> bytes:
        reason = msgspec.json.encode(self._finish_reason)
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
        return error_frame(error)

    def whole(self, pieces: Sequence[Piece]) -> bytes:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": "".join(text for kind, text in pieces if kind == "content"),
            "refusal": None,
            "annotations": [],
        }
        if reasoning := "".join(text for kind, text in pieces if kind == "reasoning"):
            message["reasoning_content"] = reasoning
        if calls := tool_calls.tool_call_objects(pieces):
            message["content"] = message["content"] or None
            if self._generation.request.function_call:
                message["function_call"] = calls[0]["function"]
            else:
                message["tool_calls"] = calls
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": self._finish_reason,
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
    def _finish_reason(self) -> str:
        reason = self._generation.outcome.finish_reasons[0]
        if reason == "tool_calls" and self._generation.request.function_call:
            return "function_call"
        return reason

    @property
    def _counted(self) -> Usage:
        return self._generation.outcome.usage or Usage(0, 0)
