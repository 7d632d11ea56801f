"""Asks for JSON in the prompt, removes Markdown fences and checks whole answers.

Fitten has no JSON mode, so JSON cannot be guaranteed. A whole answer that does not match is
requested once more. If the second one does not match either, it is returned as it is, and
`format_missed` is set. A streamed answer is not checked, since it is sent while it arrives.
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
_MAX_MISMATCH = 300  # characters of the mismatch that the prompt names

OpenAnswer = Callable[[GenerationRequest], Answer]


def add_json_instructions(
    request: GenerationRequest, *, default_system: str, mismatch: str = ""
) -> GenerationRequest:
    """Return the request with instructions for JSON at the end of its system block.

    default_system: the system text for a request that has none.
    mismatch: what was wrong with an earlier answer.
    """
    wanted, messages = request.response_format, request.messages
    if wanted is None:
        return request
    if not any(m.role == "system" and m.text for m in messages):
        messages = (Message("system", default_system), *messages)
    text = _instructions(wanted)
    if mismatch:
        text += f"\nAn earlier answer of yours could not be used: {mismatch[:_MAX_MISMATCH]}."
    return dataclasses.replace(request, messages=(*messages, Message("system", text)))


def _instructions(wanted: ResponseFormat) -> str:
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
    """Return why a text is not the JSON that is wanted; None when no reason is found."""
    try:
        value: Any = msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:
        return f"it is not valid JSON ({str(error).removeprefix('JSON is malformed: ')})"
    if wanted.is_object and not isinstance(value, dict):
        return "it is JSON, but not an object"
    if wanted.schema is not None and (
        violation := schema_check.find_schema_violation(value, wanted.schema)
    ):
        return f"in it, {violation}"
    return None


class StreamedJsonAnswer:
    """Passes on a streamed answer without the Markdown fence around it."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._fence = MarkdownFence()
        self._error: GatewayError | None = None
        self.ended = False
        self.direct: Sink | None = None  # not used: all batches come by the iteration

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
                # Text that was held back is sent before the error.
                batch, self.ended, self._error = [], True, error
            if self.ended:
                batch += self._fence.flush()
            if batch:
                return batch
        if self._error is not None:
            raise self._error
        return await self._answer.__anext__()  # raises the error after the last batch, or the end


class WholeJsonAnswer(BufferedAnswer):
    """Returns a whole answer after a check; requests it once more if it is not the JSON wanted.

    open_answer: opens a new answer to a request.

    It sets `format_missed` of the generation. The usage of the generation includes both
    answers. An answer that `max_tokens` ended is not requested again, since the limit would
    end the next one too. When the second request fails, the first answer is returned.
    """

    def __init__(
        self, generation: Generation, open_answer: OpenAnswer, *, default_system: str
    ) -> None:
        super().__init__()
        wanted = generation.request.response_format
        assert wanted is not None
        self._wanted = wanted
        self._generation = generation
        self._open_answer = open_answer
        self._default_system = default_system
        self._pieces: list[Piece] = []
        self.ended = False
        self.direct: Sink | None = None  # there is one batch only

    async def __aenter__(self) -> WholeJsonAnswer:
        pieces = await self._read_answer()
        if mismatch := self._mismatch(pieces):
            if self._generation.finish_reason != "length":
                pieces, mismatch = await self._repeat(pieces, mismatch)
            self._generation.format_missed = mismatch is not None
        self._pieces = pieces
        return self

    def __aiter__(self) -> WholeJsonAnswer:
        return self

    async def _repeat(self, first: list[Piece], mismatch: str) -> tuple[list[Piece], str | None]:
        """Return a second answer and its mismatch; the first one's if the second fails."""
        generation = self._generation
        used, finish_reason = generation.usage, generation.finish_reason
        generation.usage = None
        second: list[Piece] | None = None
        try:
            second = await self._read_answer(mismatch)
        except GatewayError as error:
            generation.finish_reason = finish_reason
            _log.info("json_not_repeated", reason=error.code)
        finally:
            generation.usage = _add_usage(used, generation.usage)
        if second is None:
            return first, mismatch
        second_mismatch = self._mismatch(second)
        _log.info("json_repeated", fits=second_mismatch is None)
        return second, second_mismatch

    async def _read_answer(self, mismatch: str = "") -> list[Piece]:
        """Return the pieces of a new answer, without a Markdown fence."""
        generation = self._generation
        request = add_json_instructions(
            generation.request, default_system=self._default_system, mismatch=mismatch
        )
        pieces: list[Piece] = []
        async with self._open_answer(request) as batches:
            async for batch in batches:
                if generation.first_piece is None:
                    generation.first_piece = time.monotonic()
                pieces.extend(batch)
        if not _is_text(pieces):
            return pieces
        reasoning = [piece for piece in pieces if piece[0] == "reasoning"]
        text = strip_fence("".join([text for kind, text in pieces if kind == "content"]))
        return [*reasoning, ("content", text)] if text else reasoning

    def _mismatch(self, pieces: list[Piece]) -> str | None:
        if not _is_text(pieces):
            return None
        return json_mismatch(
            "".join([text for kind, text in pieces if kind == "content"]), self._wanted
        )


def _is_text(pieces: list[Piece]) -> bool:
    """Return whether the answer is only text; tool calls need not be the JSON that is wanted."""
    return {kind for kind, _ in pieces} <= {"content", "reasoning"}


def _add_usage(one: Usage | None, other: Usage | None) -> Usage | None:
    if one is None or other is None:
        return one or other
    return Usage(
        one.prompt_tokens + other.prompt_tokens,
        one.completion_tokens + other.completion_tokens,
        one.reasoning_tokens + other.reasoning_tokens,
        one.estimated or other.estimated,
    )
