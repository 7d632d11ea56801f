"""Encodes the answers of Ollama's dialect: pieces -> lines of JSON or one object."""

from __future__ import annotations

import itertools
import operator
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.apis.ollama.errors import error_line
from gateway.apis.ollama.tools import call_object
from gateway.errors import GatewayError
from gateway.generation.pieces import Piece
from gateway.generation.request import Generation

_KIND = operator.itemgetter(0)
_encode = msgspec.json.Encoder().encode
_NANOSECONDS = 1_000_000_000


class _LineEncoder(ABC):
    """Encodes an answer as lines; a subclass says where in a line a text is.

    A line without a text keeps a client waiting; an empty line would break most clients. A batch
    that shows nothing, such as a part of a call, is such a line too.
    """

    media_type = "application/x-ndjson"

    def __init__(self, generation: Generation, openings: Mapping[str, bytes], tail: bytes) -> None:
        self._generation = generation
        created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        self._head = {"model": generation.model_name, "created_at": created}
        # The bytes of a line are always the same but for the piece's text: prepared once.
        head = _encode(self._head)[:-1]
        self._tail = tail + b',"done":false}\n'
        self._openings = {kind: head + opening for kind, opening in openings.items()}
        self._nothing = self._openings["content"] + b'""' + self._tail
        self._thinks = generation.request.reasoning

    def keep_alive(self) -> bytes:
        return self._nothing

    def begin(self) -> bytes:
        return b""

    def pieces(self, batch: Sequence[Piece]) -> bytes:
        """Return the lines of a batch, never none; pieces of one kind cost one join."""
        lines: list[bytes] = []
        for kind, run in itertools.groupby(batch, _KIND):
            if kind not in self._openings:
                lines.append(self._other(run))
            elif kind == "content" or self._thinks:
                opening = self._openings[kind]
                texts = (self._tail + opening).join([_encode(text) for _, text in run])
                lines += (self._before(kind), opening, texts, self._tail)
        return b"".join(lines) or self._nothing

    def end(self) -> bytes:
        return self._before("end") + _encode(self._whole("", "", [])) + b"\n"

    def error(self, error: GatewayError) -> bytes:
        return error_line(error)

    def whole(self, pieces: Sequence[Piece]) -> bytes:
        return _encode(self._whole(_text(pieces, "content"), self._thoughts(pieces), pieces))

    def _thoughts(self, pieces: Sequence[Piece]) -> str:
        return _text(pieces, "reasoning") if self._thinks else ""

    def _other(self, run: Any) -> bytes:
        """Return the lines of a run of pieces that are neither content nor thoughts."""
        return b""

    def _before(self, kind: str) -> bytes:
        """Return the lines that must come before a run of a kind, or before the end."""
        return b""

    @abstractmethod
    def _whole(self, content: str, thoughts: str, pieces: Sequence[Piece]) -> dict[str, Any]:
        """Return the last line of a stream, or the object of an answer that is whole."""

    def _ending(self) -> dict[str, Any]:
        """Return the members that say that and how the answer ended."""
        outcome = self._generation.outcome
        request = self._generation.request
        if not (request.messages or request.fills):
            return {"done": True, "done_reason": "load"}
        now = time.monotonic()
        begun = outcome.first_piece or now
        loaded = min(outcome.started + outcome.queued, begun)
        counted = outcome.usage
        prompt = (counted.prompt_tokens if counted else 0) or outcome.prompt_tokens or 0
        return {
            "done": True,
            "done_reason": "length" if outcome.finish_reasons == ("length",) else "stop",
            "total_duration": _duration(outcome.started, now),
            "load_duration": _duration(outcome.started, loaded),
            "prompt_eval_count": prompt,
            "prompt_eval_duration": _duration(loaded, begun),
            "eval_count": counted.completion_tokens if counted else 0,
            "eval_duration": _duration(begun, now),
        }


class OllamaChatEncoder(_LineEncoder):
    """Encodes an answer of POST /api/chat, with the text in `message`.

    A call is one line, which is sent when the call is complete.
    """

    def __init__(self, generation: Generation) -> None:
        opening = b',"message":{"role":"assistant","content":'
        openings = {"content": opening, "reasoning": opening + b'"","thinking":'}
        super().__init__(generation, openings, b"}")
        self._call: tuple[str, list[str]] | None = None  # the one that is not complete
        self._calls = 0

    def _other(self, run: Any) -> bytes:
        lines: list[bytes] = []
        for kind, text in run:
            if kind == "call":
                lines.append(self._finished_call())
                self._call = text, []
            elif kind == "arguments" and self._call is not None:
                self._call[1].append(text)
        return b"".join(lines)

    def _before(self, kind: str) -> bytes:
        # Thoughts within a call do not split it.
        return b"" if self._call is None or kind == "reasoning" else self._finished_call()

    def _finished_call(self) -> bytes:
        """Return the line of the call that is complete now, if there is one."""
        if self._call is None:
            return b""
        (name, arguments), self._call = self._call, None
        call = call_object(name, "".join(arguments), self._calls)
        if call is None:
            return b""
        self._calls += 1
        message = {"role": "assistant", "content": "", "tool_calls": [call]}
        return _encode({**self._head, "message": message, "done": False}) + b"\n"

    def _whole(self, content: str, thoughts: str, pieces: Sequence[Piece]) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if thoughts:
            message["thinking"] = thoughts
        if calls := _calls(pieces):
            message["tool_calls"] = calls
        return {**self._head, "message": message, **self._ending()}


class OllamaGenerateEncoder(_LineEncoder):
    """Encodes an answer of POST /api/generate, with the text in `response`."""

    def __init__(self, generation: Generation) -> None:
        openings = {"content": b',"response":', "reasoning": b',"response":"","thinking":'}
        super().__init__(generation, openings, b"")

    def _whole(self, content: str, thoughts: str, pieces: Sequence[Piece]) -> dict[str, Any]:
        thinking = {"thinking": thoughts} if thoughts else {}
        return {**self._head, "response": content, **thinking, **self._ending()}


def _text(pieces: Sequence[Piece], wanted: str) -> str:
    return "".join([text for kind, text in pieces if kind == wanted])


def _calls(pieces: Sequence[Piece]) -> list[dict[str, Any]]:
    """Return the calls of an answer without those that are not complete."""
    written: list[tuple[str, list[str]]] = []
    for kind, text in pieces:
        if kind == "call":
            written.append((text, []))
        elif kind == "arguments":
            written[-1][1].append(text)
    calls: list[dict[str, Any]] = []
    for name, arguments in written:
        if (call := call_object(name, "".join(arguments), len(calls))) is not None:
            calls.append(call)
    return calls


def _duration(begin: float, end: float) -> int:
    """Return nanoseconds; at least one, since clients divide by them."""
    return max(1, int((end - begin) * _NANOSECONDS))
