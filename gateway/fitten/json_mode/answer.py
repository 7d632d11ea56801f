"""Answers that are to be JSON: asked for in words, freed from a fence, checked when whole.

Fitten knows no such format, so nothing can make sure of it: a whole answer that does not
fit is asked for once more, and a second one that does not is given as it is, marked. A
stream has left before it could be checked.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import structlog

from gateway.errors import GatewayError
from gateway.fitten.buffered_answer import BufferedAnswer
from gateway.fitten.json_mode import schema_check
from gateway.fitten.json_mode.markdown_fence import MarkdownFence, strip_fence
from gateway.generation.outcome import Generation, Usage
from gateway.generation.pieces import Answer, Piece, Sink
from gateway.generation.request import GenerationRequest, Message, ResponseFormat

_log = structlog.get_logger("fitten")

_ONLY_JSON = "Write nothing else: no words before or after the JSON, no Markdown and no code fence."
_LONGEST_REASON = 300

OpenAnswer = Callable[[GenerationRequest], Answer]


def with_json_instructions(
    request: GenerationRequest, *, default_system: str, miss: str = ""
) -> GenerationRequest:
    """The request with the wish for JSON at the end of its system block.

    miss: what was wrong with an earlier answer.
    """
    wanted, messages = request.response_format, request.messages
    if wanted is None:
        return request
    if not any(m.role == "system" and m.text for m in messages):
        messages = (Message("system", default_system), *messages)
    wish = _instruction(wanted)
    if miss:
        wish += f"\nAn earlier answer of yours could not be used: {miss[:_LONGEST_REASON]}."
    return dataclasses.replace(request, messages=(*messages, Message("system", wish)))


def _instruction(wanted: ResponseFormat) -> str:
    if wanted.schema is None:
        what = "one JSON object" if wanted.is_object else "one JSON value"
        return f"Answer with {what}. {_ONLY_JSON}"
    about = f"\nWhat it is for: {wanted.description}" if wanted.description else ""
    schema = msgspec.json.encode(wanted.schema).decode()
    return (
        f"Answer with one JSON value that fits the JSON schema {wanted.name!r} below. "
        f"{_ONLY_JSON}{about}\n{schema}"
    )


def json_mismatch(text: str, wanted: ResponseFormat) -> str | None:
    """What keeps a text from being the JSON that is wanted; None when nothing is found."""
    try:
        value: Any = msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:
        return f"it is not valid JSON ({str(error).removeprefix('JSON is malformed: ')})"
    if wanted.is_object and not isinstance(value, dict):
        return "it is JSON, but not an object"
    if wanted.schema is not None and (found := schema_check.schema_fault(value, wanted.schema)):
        return f"in it, {found}"
    return None


class StreamedJsonAnswer:
    """The batches of a streamed answer without the fence round it."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._fence = MarkdownFence()
        self._error: GatewayError | None = None
        self.ended = False
        self.direct: Sink | None = None  # never made use of: all comes by the iteration

    async def __aenter__(self) -> StreamedJsonAnswer:
        await self._answer.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._answer.__aexit__(*exc)

    def __aiter__(self) -> StreamedJsonAnswer:
        return self

    async def __anext__(self) -> Sequence[Piece]:
        while not self.ended:
            try:
                batch = self._fence.feed(await self._answer.__anext__())
                self.ended = self._answer.ended
            except StopAsyncIteration:
                batch, self.ended = [], True
            except GatewayError as error:
                # What is held back goes out before the error.
                batch, self.ended, self._error = [], True, error
            if self.ended:
                batch += self._fence.flush()
            if batch:
                return batch
        if self._error is not None:
            raise self._error
        return await self._answer.__anext__()  # the error that follows the last batch, or the end


class WholeJsonAnswer(BufferedAnswer):
    """A whole answer, checked before it is given, and asked for once more if it does not fit.

    open: a new answer to a request. Sets the generation's `format_missed`; its usage
    is that of both answers. An answer that was cut by `max_tokens` is not asked for again,
    since the next would be too; and when the second one fails, the first is given.
    """

    def __init__(self, generation: Generation, open: OpenAnswer, *, default_system: str) -> None:
        super().__init__()
        wanted = generation.request.response_format
        assert wanted is not None
        self._wanted = wanted
        self._generation = generation
        self._open = open
        self._default_system = default_system
        self._pieces: list[Piece] = []
        self.ended = False
        self.direct: Sink | None = None  # there is one batch only

    async def __aenter__(self) -> WholeJsonAnswer:
        pieces = await self._answer()
        if reason := self._miss(pieces):
            if self._generation.finish_reason != "length":
                pieces, reason = await self._once_more(pieces, reason)
            self._generation.format_missed = reason is not None
        self._pieces = pieces
        return self

    def __aiter__(self) -> WholeJsonAnswer:
        return self

    async def _once_more(self, first: list[Piece], reason: str) -> tuple[list[Piece], str | None]:
        generation = self._generation
        used, finish_reason = generation.usage, generation.finish_reason
        generation.usage = None
        second: list[Piece] | None = None
        try:
            second = await self._answer(reason)
        except GatewayError as error:
            generation.finish_reason = finish_reason
            _log.info("json_not_repeated", reason=error.code)
        finally:
            generation.usage = _sum(used, generation.usage)
        if second is None:
            return first, reason
        missed = self._miss(second)
        _log.info("json_repeated", fits=missed is None)
        return second, missed

    async def _answer(self, reason: str = "") -> list[Piece]:
        generation = self._generation
        request = with_json_instructions(
            generation.request, default_system=self._default_system, miss=reason
        )
        pieces: list[Piece] = []
        async with self._open(request) as batches:
            async for batch in batches:
                if generation.first_piece is None:
                    generation.first_piece = time.monotonic()
                pieces.extend(batch)
        if not _is_text(pieces):
            return pieces
        thoughts = [piece for piece in pieces if piece[0] == "reasoning"]
        text = strip_fence("".join([text for kind, text in pieces if kind == "content"]))
        return [*thoughts, ("content", text)] if text else thoughts

    def _miss(self, pieces: list[Piece]) -> str | None:
        if not _is_text(pieces):
            return None
        return json_mismatch(
            "".join([text for kind, text in pieces if kind == "content"]), self._wanted
        )


def _is_text(pieces: list[Piece]) -> bool:
    """Whether it is text alone: calls of tools have a form of their own."""
    return {kind for kind, _ in pieces} <= {"content", "reasoning"}


def _sum(one: Usage | None, other: Usage | None) -> Usage | None:
    if one is None or other is None:
        return one or other
    return Usage(
        one.prompt_tokens + other.prompt_tokens,
        one.completion_tokens + other.completion_tokens,
        one.reasoning_tokens + other.reasoning_tokens,
        one.estimated or other.estimated,
    )
