"""Encodes the answers of Anthropic's Messages: pieces -> events or one object."""

from __future__ import annotations

import itertools
import operator
import os
from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.apis.anthropic.content_blocks import UNPARSED
from gateway.apis.anthropic.errors import error_frame
from gateway.apis.base import EVENT_STREAM
from gateway.errors import GatewayError
from gateway.generation.outcome import Usage
from gateway.generation.pieces import Piece
from gateway.generation.request import Generation

_KIND = operator.itemgetter(0)
_encode = msgspec.json.Encoder().encode

_PING = b'event: ping\ndata: {"type":"ping"}\n\n'
_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_DELTA_END = b"}}\n\n"
# What the delta of a block has before its text, by the kind of piece.
_DELTAS = {
    "content": b'{"type":"text_delta","text":',
    "reasoning": b'{"type":"thinking_delta","thinking":',
    "arguments": b'{"type":"input_json_delta","partial_json":',
}
_STOP_REASONS = {"length": "max_tokens", "tool_calls": "tool_use"}


class MessageEncoder:
    """Encodes one answer; a block of the answer is a run of pieces of one kind.

    A call that the limit of tokens cut off is closed where it ends in a stream, since its
    beginning has been sent. A whole answer leaves it out: clients run every call that they get.
    """

    media_type = EVENT_STREAM

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._id = f"msg_{os.urandom(12).hex()}"
        self._index = -1  # of the last block
        self._open: str | None = None  # the kind of pieces that continue the open block
        self._delta = b""  # the bytes of its deltas before their text

    def keep_alive(self) -> bytes:
        return _PING

    def begin(self) -> bytes:
        tokens = max(1, self._generation.outcome.prompt_tokens or 0)
        message = self._message([], None, None, _usage(tokens, 1))
        return _event({"type": "message_start", "message": message})

    def pieces(self, batch: Sequence[Piece]) -> bytes:
        """Return the events of a batch; consecutive pieces of one kind cost one join.

        The bytes between two texts of the same block are always the same.
        """
        frames: list[bytes] = []
        for kind, run in itertools.groupby(batch, _KIND):
            if kind == "call":
                frames += [self._start("arguments", name) for _, name in run]
                continue
            if kind != self._open:
                if self._leaves_out(kind, self._open):
                    continue
                frames.append(self._start(kind))
            texts = (_DELTA_END + self._delta).join([_encode(text) for _, text in run])
            frames += (self._delta, texts, _DELTA_END)
        return b"".join(frames)

    def end(self) -> bytes:
        first = self._start("content") if self._index < 0 else b""
        reason, sequence = self._stop()
        delta = {
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": sequence},
            "usage": self._usage(),
        }
        return b"".join((first, self._close(), _event(delta), _STOP))

    def error(self, error: GatewayError) -> bytes:
        """Return the event; the open block stays open, so that no client runs half a call."""
        return error_frame(error)

    def whole(self, pieces: Sequence[Piece]) -> bytes:
        reason, sequence = self._stop()
        blocks: list[tuple[dict[str, Any], list[str]]] = []
        kind_of_last: str | None = None
        for kind, text in pieces:
            if kind == "call":
                blocks.append((_block("arguments", text), []))
                kind_of_last = "arguments"
                continue
            if kind != kind_of_last:
                if self._leaves_out(kind, kind_of_last):
                    continue
                blocks.append((_block(kind), []))
                kind_of_last = kind
            blocks[-1][1].append(text)
        content = [_filled(block, "".join(texts)) for block, texts in blocks]
        if reason == "max_tokens" and content and UNPARSED in content[-1].get("input", ()):
            del content[-1]
        return _encode(
            self._message(content or [_block("content")], reason, sequence, self._usage())
        )

    def _leaves_out(self, kind: str, kind_of_last: str | None) -> bool:
        """Return whether a piece is no part of the answer: thoughts that the client does not want.

        Thoughts within a call are left out too, since a block of their own would split the call.
        """
        return kind == "reasoning" and (
            kind_of_last == "arguments" or not self._generation.request.reasoning
        )

    def _start(self, kind: str, name: str = "") -> bytes:
        """Return the end of the open block and the start of the next; note what continues it."""
        end = self._close()
        self._index += 1
        self._open = kind
        self._delta = (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":%b'
            % (self._index, _DELTAS[kind])
        )
        block = _block(kind, name)
        start = {"type": "content_block_start", "index": self._index, "content_block": block}
        return end + _event(start)

    def _close(self) -> bytes:
        """Return the end of the open block, if there is one."""
        kind, self._open = self._open, None
        if kind is None:
            return b""
        end = _event({"type": "content_block_stop", "index": self._index})
        if kind != "reasoning":
            return end
        delta = {"type": "signature_delta", "signature": _signature()}
        signed = {"type": "content_block_delta", "index": self._index, "delta": delta}
        return _event(signed) + end

    def _message(
        self,
        content: list[dict[str, Any]],
        reason: str | None,
        sequence: str | None,
        usage: dict[str, Any],
    ) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._generation.model_name,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": sequence,
            "usage": usage,
        }

    def _stop(self) -> tuple[str, str | None]:
        """Return why the answer ended, and the stop sequence that ended it."""
        outcome = self._generation.outcome
        reason = outcome.finish_reasons[0]
        if reason == "stop" and outcome.stop_sequence is not None:
            return "stop_sequence", outcome.stop_sequence
        return _STOP_REASONS.get(reason, "end_turn"), None

    def _usage(self) -> dict[str, Any]:
        outcome = self._generation.outcome
        counted = outcome.usage or Usage(0, 0)
        prompt = counted.prompt_tokens or outcome.prompt_tokens or 0
        return _usage(max(1, prompt), counted.completion_tokens)


def _event(data: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (data["type"].encode(), _encode(data))


def _block(kind: str, name: str = "") -> dict[str, Any]:
    """Return an empty block for pieces of a kind. name: of the tool."""
    if kind == "content":
        return {"type": "text", "text": ""}
    if kind == "reasoning":
        return {"type": "thinking", "thinking": "", "signature": ""}
    return {"type": "tool_use", "id": f"toolu_{os.urandom(12).hex()}", "name": name, "input": {}}


def _filled(block: dict[str, Any], text: str) -> dict[str, Any]:
    """Return a block with the text of its pieces."""
    if block["type"] == "tool_use":
        return block | {"input": _parsed(text)}
    if block["type"] == "thinking":
        return block | {"thinking": text, "signature": _signature()}
    return block | {"text": text}


def _signature() -> str:
    """Return the signature of thoughts; nobody checks it, since prompts have no thoughts."""
    return os.urandom(24).hex()


def _parsed(arguments: str) -> dict[str, Any]:
    """Return the input of a call; one that is no JSON object is marked as Claude Code does it."""
    try:
        value = msgspec.json.decode(arguments)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        return value
    return {UNPARSED: {"raw": arguments, "len": len(arguments)}}


def _usage(prompt: int, completion: int) -> dict[str, Any]:
    return {
        "input_tokens": prompt,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": completion,
    }


def message_token_count(tokens: int) -> bytes:
    """Return the body of an answer of POST /v1/messages/count_tokens."""
    return msgspec.json.encode({"input_tokens": tokens})
