"""Asks for JSON in the prompt, removes Markdown fences and checks whole answers.

Fitten has no JSON mode, so JSON cannot be guaranteed. A whole answer that does not match is
requested once more. If the second one does not match either, it is returned as it is, and
`format_missed` is set. A streamed answer is not checked, since it is sent while it arrives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import structlog

from gateway.errors import GatewayError
from gateway.fitten.answer import Answer
from gateway.fitten.conversation import add_to_system_block, begun_answer
from gateway.fitten.json_mode import schema_check
from gateway.fitten.json_mode.markdown_fence import MarkdownFence, strip_fence
from gateway.fitten.json_schema import StepCounter
from gateway.generation import json_values
from gateway.generation.outcome import AnswerResult, Usage
from gateway.generation.pieces import Piece, PieceCollector, Sink
from gateway.generation.request import Generation, GenerationRequest, ResponseFormat

_log = structlog.get_logger("fitten")

_ONLY_JSON = "Write nothing else: no words before or after the JSON, no Markdown and no code fence."
_MAX_MISMATCH = 300  # characters of the mismatch that the prompt names


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
    text = _instructions(wanted)
    if mismatch:
        text += f"\nAn earlier answer of yours could not be used: {mismatch[:_MAX_MISMATCH]}."
    messages = add_to_system_block(messages, text, default_system=default_system)
    return replace(request, messages=messages)


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


def json_mismatch(
    text: str, wanted: ResponseFormat, steps: StepCounter | None = None
) -> str | None:
    """Return why a text is not the JSON that is wanted; None when no reason is found.

    steps: counts the work of all checks of a request; says whether it was too much for one.
    """
    steps = steps or StepCounter()
    try:
        value: Any = json_values.decode(text.encode())
    except json_values.TooManyValues:
        steps.exceeded = True
        return None
    except (ValueError, RecursionError) as error:
        return f"it is not valid JSON ({str(error).removeprefix('JSON is malformed: ')})"
    if wanted.is_object and not isinstance(value, dict):
        return "it is JSON, but not an object"
    if wanted.schema is not None and (
        violation := schema_check.find_schema_violation(value, wanted.schema, steps)
    ):
        return f"in it, {violation}"
    return None


class FenceRemover:
    """Passes batches on to a sink, without the Markdown fence around the answer; a `Sink`."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._fence = MarkdownFence()
        self.grace, self.interval = sink.grace, sink.interval
        self.keep_alive = sink.keep_alive

    def take(self, _: Sequence[Piece]) -> bool:
        """Return False: the fence keeps text back, so a batch that is refused would be lost."""
        return False

    async def put(self, batch: Sequence[Piece]) -> None:
        """Pass on what cannot be part of a fence."""
        if rest := self._fence.feed(batch):
            await self._sink.put(rest)

    def hold(self, batch: Sequence[Piece]) -> None:
        """Pass on the last batch and the text that was kept back."""
        if rest := [*self._fence.feed(batch), *self._fence.flush()]:
            self._sink.hold(rest)


class StreamedJsonAnswer:
    """Sends a streamed answer without the Markdown fence around it; an `Answer`.

    open_answer: makes the answer that sends to a given sink.
    """

    def __init__(self, open_answer: Callable[[Sink], Answer], sink: Sink) -> None:
        self._remover = FenceRemover(sink)
        self._answer = open_answer(self._remover)

    @property
    def result(self) -> AnswerResult:
        """Return what is known of the answer."""
        return self._answer.result

    async def run(self) -> None:
        """Send the answer; text that was kept back comes before the end and before an error."""
        try:
            await self._answer.run()
        except GatewayError:
            self._remover.hold([])
            raise
        self._remover.hold([])


class WholeJsonAnswer:
    """Sends a whole answer after a check; requests it once more if it is not the JSON wanted.

    open_answer: makes an answer to a request that sends to a given sink.

    Its result has the usage of both answers. An answer that `max_tokens` ended is not requested
    again, since the limit would end the next one too. When the second request fails, the first
    answer is sent. An answer that would take too long to check is sent as well, and
    `format_unchecked` is set.
    """

    def __init__(
        self,
        generation: Generation,
        open_answer: Callable[[GenerationRequest, Sink], Answer],
        sink: Sink,
        *,
        default_system: str,
    ) -> None:
        wanted = generation.request.response_format
        assert wanted is not None
        self._wanted = wanted
        self._request = generation.request
        self._open_answer = open_answer
        self._sink = sink
        self._default_system = default_system
        self._steps = StepCounter()
        self.result = AnswerResult()

    async def run(self) -> None:
        """Read one answer or two, and send the better one; see `Answer`."""
        pieces = await self._read_answer()
        if mismatch := self._mismatch(pieces):
            if self.result.finish_reasons != ("length",):
                pieces, mismatch = await self._repeat(pieces, mismatch)
            self.result = replace(self.result, format_missed=mismatch is not None)
        if self._steps.exceeded and not self.result.format_missed:
            self.result = replace(self.result, format_unchecked=True)
            _log.warning("json_unchecked")
        if pieces:
            self._sink.hold(pieces)

    async def _repeat(self, first: list[Piece], mismatch: str) -> tuple[list[Piece], str | None]:
        """Return a second answer and its mismatch; the first one's if the second fails."""
        result = self.result
        try:
            second = await self._read_answer(mismatch)
        except GatewayError as error:
            self.result = replace(result, usage=self.result.usage)
            _log.info("json_not_repeated", reason=error.code)
            return first, mismatch
        second_mismatch = self._mismatch(second)
        _log.info("json_repeated", fits=second_mismatch is None)
        return second, second_mismatch

    async def _read_answer(self, mismatch: str = "") -> list[Piece]:
        """Return the pieces of a new answer, without a Markdown fence; add its result."""
        request = add_json_instructions(
            self._request, default_system=self._default_system, mismatch=mismatch
        )
        collector = PieceCollector()
        answer = self._open_answer(request, collector)
        used = self.result.usage
        try:
            await answer.run()
        finally:
            self.result = replace(answer.result, usage=_sum(used, answer.result.usage))
        pieces = collector.pieces
        if not _is_text(pieces):
            return pieces
        reasoning = [piece for piece in pieces if piece[0] == "reasoning"]
        text = strip_fence("".join([text for kind, text in pieces if kind == "content"]))
        return [*reasoning, ("content", text)] if text else reasoning

    def _mismatch(self, pieces: list[Piece]) -> str | None:
        if not _is_text(pieces):
            return None
        text = "".join([text for kind, text in pieces if kind == "content"])
        mismatch = json_mismatch(text, self._wanted, self._steps)
        begun = begun_answer(self._request.messages)
        if mismatch is None or begun is None or not begun.text:
            return mismatch
        # The client has the beginning.
        return json_mismatch(begun.text + text, self._wanted, self._steps)


def _is_text(pieces: list[Piece]) -> bool:
    """Return whether the answer is only text; tool calls need not be the JSON that is wanted."""
    return {kind for kind, _ in pieces} <= {"content", "reasoning"}


def _sum(one: Usage | None, other: Usage | None) -> Usage | None:
    return one + other if one and other else one or other
