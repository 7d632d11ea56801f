"""Sends the answer to a request that offers tools; repairs one that is broken, once.

A model may break off within a call, write a call that cannot be read, or write nothing. Such an
answer is of no use to an agent, and many agents stop at it. So the model is asked once more, while
the client waits. What has been sent is never contradicted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

import structlog

from gateway.errors import GatewayError, UpstreamError
from gateway.fitten.answer import Answer
from gateway.fitten.tools.record import AnswerPart
from gateway.fitten.tools.stop_sequences import ToolStopSequenceFilter
from gateway.generation.outcome import AnswerResult, Usage
from gateway.generation.pieces import FinishReason, Piece, Sink
from gateway.generation.request import Message
from gateway.generation.stop_sequences import StopSequenceFilter

_log = structlog.get_logger("fitten")

_CONTINUE = (
    "Your answer was cut off. Continue it exactly with the next character. "
    "Repeat nothing, and write no introduction."
)
_RESTATE = (
    "The call in your last answer could not be read. Write it again, in the form that was asked "
    "for, with a tool of the list. Write nothing else."
)
_ANSWER = "Your answer was empty. Answer with text, or with a call of a tool."

MakeFilter = Callable[..., ToolStopSequenceFilter]
"""Makes the filter of an answer, of the arguments of `ToolStopSequenceFilter`."""


class Chat(Answer, Protocol):
    """Sends the answer of one chat through a filter."""

    @property
    def stop_filter(self) -> StopSequenceFilter | ToolStopSequenceFilter: ...

    def restore(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Return pieces that this answer has not sent, with the client's role markers."""
        ...


OpenChat = Callable[[Sequence[Message], MakeFilter, Sink, float, AnswerPart], Chat]
"""Makes a chat: of messages, with a filter, to a sink, within so many seconds, as which part."""


class ToolAnswer:
    """Sends one answer with tools, of one chat or two; an `Answer`.

    messages: with tools, calls and results as text.
    make_filter: makes the filter of an answer.
    seconds: the longest time of the whole answer.
    repair: whether a broken answer is repaired.

    The result has the usage of both chats. When the second one fails, the first answer ends as
    it would have ended without a repair; an empty answer is a failure then.
    """

    def __init__(
        self,
        messages: Sequence[Message],
        sink: Sink,
        open_chat: OpenChat,
        make_filter: MakeFilter,
        *,
        seconds: float,
        repair: bool,
    ) -> None:
        self._messages = messages
        self._sink = sink
        self._open_chat = open_chat
        self._make_filter = make_filter
        self._end = asyncio.get_running_loop().time() + seconds
        self._last = _LastBatch(sink)
        first = AnswerPart(repairable=repair)
        self._chat = open_chat(messages, self._new_filter(repair), self._last, seconds, first)
        self._filter = self._filter_of(self._chat)
        self.result = AnswerResult()

    async def run(self) -> None:
        """Send the answer; see `Answer`."""
        try:
            await self._run_chat()
        except BaseException:
            self._last.pass_on()
            raise
        fault = self._filter.fault
        if fault is None:
            self._last.pass_on()
            return
        await self._last.send()
        self.result = replace(self.result, repaired=fault)
        _log.info("tool_answer_repaired", fault=fault)
        if fault == "cut":
            await self._continue()
        elif fault == "form":
            await self._restate()
        else:
            await self._ask_again()

    def _new_filter(self, repairable: bool) -> MakeFilter:
        return partial(self._make_filter, repairable=repairable)

    def _second_filter(self, **options: bool) -> MakeFilter:
        """Return what makes the filter of a second answer, within the rest of `max_tokens`."""
        left = self._filter.tokens_left
        return lambda **given: self._make_filter(**{**given, "max_tokens": left}, **options)

    def _filter_of(self, chat: Chat) -> ToolStopSequenceFilter:
        assert isinstance(chat.stop_filter, ToolStopSequenceFilter)
        return chat.stop_filter

    async def _run_chat(self) -> None:
        used, repaired = self.result.usage, self.result.repaired
        try:
            await self._chat.run()
        finally:
            result = self._chat.result
            self.result = replace(result, usage=_sum(used, result.usage), repaired=repaired)

    async def _ask(
        self,
        more: Sequence[Message],
        make_filter: MakeFilter,
        sink: Sink,
        *,
        repairable: bool = False,
        continues: str = "",
    ) -> None:
        """Run a second chat, with more messages. Raises GatewayError."""
        left = self._end - asyncio.get_running_loop().time()
        messages = [*self._messages, *more]
        part = AnswerPart(2, repairable, self.result.repaired, continues)
        self._chat = self._open_chat(messages, make_filter, sink, max(left, 0.01), part)
        await self._run_chat()

    async def _continue(self) -> None:
        """Let the model continue an answer that ended within a call."""
        stop_filter = self._filter
        more = (self._broken_answer(), Message("user", _CONTINUE))
        written = stop_filter.raw_text
        stop_filter.continue_answer()
        try:
            await self._ask(more, lambda **_: stop_filter, self._sink, continues=written)
        except GatewayError as error:
            self._note_failure(error)
            self._end_first()

    def _broken_answer(self) -> Message:
        """Return what the model wrote, with role markers as in the client's texts."""
        pieces = self._chat.restore([("content", self._filter.raw_text)])
        return Message("assistant", "".join([text for _, text in pieces]))

    async def _restate(self) -> None:
        """Let the model write a call again that cannot be read."""
        more = (self._broken_answer(), Message("user", _RESTATE))
        try:
            await self._ask(more, self._second_filter(calls_only=True), self._sink)
        except GatewayError as error:
            self._note_failure(error)
            if self._filter_of(self._chat).called:
                raise
        if not self._filter_of(self._chat).called:
            self._end_first()

    async def _ask_again(self) -> None:
        """Ask for an answer once more, since the first one was empty."""
        last = _LastBatch(self._sink)
        try:
            more = (Message("user", _ANSWER),)
            await self._ask(more, self._second_filter(repairable=True), last, repairable=True)
        except BaseException:
            last.pass_on()
            raise
        again = self._filter_of(self._chat)
        if again.fault == "empty":
            raise UpstreamError(
                "Fitten's model wrote nothing, twice; please try again.", code="upstream_empty"
            )
        if again.fault is not None:
            await last.send()
            self._end_first(again)
        else:
            last.pass_on()

    def _end_first(self, stop_filter: ToolStopSequenceFilter | None = None) -> None:
        """End an answer as without a repair: with the text that was held back."""
        stop_filter = stop_filter or self._filter
        if rest := self._chat.restore(stop_filter.flush()):
            self._sink.hold(rest)
        reason: FinishReason = stop_filter.finish_reason or stop_filter.natural_reason
        if stop_filter.cut:
            reason = "length"
        stop_sequence = stop_filter.stop_sequence
        self.result = replace(self.result, finish_reasons=(reason,), stop_sequence=stop_sequence)

    def _note_failure(self, error: GatewayError) -> None:
        _log.info("tool_repair_failed", **error.log_fields())


class _LastBatch:
    """Passes batches on to a sink, and keeps the last one until it is certain; a `Sink`."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._held: list[Piece] = []
        self.take, self.put = sink.take, sink.put
        self.grace, self.interval = sink.grace, sink.interval
        self.keep_alive = sink.keep_alive

    def hold(self, batch: Sequence[Piece]) -> None:
        """Keep the last batch."""
        self._held += batch

    def pass_on(self) -> None:
        """Pass the last batch on as the last one."""
        held, self._held = self._held, []
        if held:
            self._sink.hold(held)

    async def send(self) -> None:
        """Send the last batch, since more will follow."""
        held, self._held = self._held, []
        if held:
            await self._sink.put(held)


def _sum(one: Usage | None, other: Usage | None) -> Usage | None:
    return one + other if one and other else one or other
