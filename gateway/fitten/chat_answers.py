"""Makes the answers of chats: without tools, with tools as text, and with what records them."""

from __future__ import annotations

from functools import partial
from typing import Any

import structlog

from gateway.config.settings import FittenSettings, ToolSettings
from gateway.fitten.answer import Answer
from gateway.fitten.chat.answer import ChatAnswer, OpenResponse
from gateway.fitten.chat.record_writer import RecordWriter
from gateway.fitten.chat.usage_estimate import UsageCalibration
from gateway.fitten.tool_answer import ToolAnswer
from gateway.fitten.tools import loop_watch
from gateway.fitten.tools.quotations import Quotations
from gateway.fitten.tools.record import AnswerPart
from gateway.fitten.tools.recorder import AnswerRecorder
from gateway.fitten.tools.stop_sequences import CallFilter, ToolStopSequenceFilter
from gateway.fitten.tools.writing import prompt as tool_prompt
from gateway.generation.outcome import OfferedTools, Outcome
from gateway.generation.pieces import Sink
from gateway.generation.request import Generation, GenerationRequest
from gateway.generation.stop_sequences import StopSequenceFilter
from gateway.redaction import word

_log = structlog.get_logger("fitten")


class ChatAnswers:
    """Makes the answers of chats.

    open_response: opens the response to a prompt.
    key: the gateway's secret, from which the values of tool blocks are made.
    records: keeps answers that could not be read; None if none are kept.

    calibration: estimates the usage of each model.
    """

    def __init__(
        self,
        open_response: OpenResponse,
        settings: FittenSettings,
        tools: ToolSettings,
        key: bytes,
        records: RecordWriter | None,
    ) -> None:
        self._open = open_response
        self._settings = settings
        self._tools = tools
        self._key = key
        self._records = records
        self.calibration = UsageCalibration()

    def answer(self, generation: Generation, request: GenerationRequest, sink: Sink) -> Answer:
        """Return the answer of a chat, not yet begun; with tools, it may be one of two chats.

        request: what Fitten is asked. It may differ from `generation.request`, which the client
            sent: the JSON mode adds instructions.
        Raises InvalidRequest for a prompt that is too long.
        """
        settings = self._settings
        calibration = self.calibration.of(generation.model.id)
        if request.messages and request.messages[-1].role == "tool":
            request = self._watch_for_loops(request, generation.outcome)
        messages = request.messages
        if not tool_prompt.needs_tools(request):
            return ChatAnswer(
                self._open,
                calibration,
                generation,
                sink,
                settings,
                messages,
                StopSequenceFilter,
                recorder=self._recorder(generation, request) if self._records else None,
            )
        recorder = partial(self._recorder, generation, request)
        notation = self._tools.notation_of(generation.model.id)
        open_chat = partial(ChatAnswer, self._open, calibration, generation)
        written = tool_prompt.write_tools(
            request,
            notation,
            default_system=settings.default_system,
            key=self._key,
            budget=self._tools.budget,
        )
        if written.offered is not None:
            _report(generation, written.offered)
        if not request.offered:
            return open_chat(
                sink, settings, written.messages, StopSequenceFilter, recorder=recorder()
            )
        quoted = Quotations(messages, request.offered).has

        def make_filter(*, calls_only: bool = False, **given: Any) -> ToolStopSequenceFilter:
            return (CallFilter if calls_only else ToolStopSequenceFilter)(
                request.offered,
                parallel=request.parallel_tool_calls,
                value=written.value,
                quoted=quoted,
                eager=request.stream,
                **given,
            )

        return ToolAnswer(
            written.messages,
            sink,
            lambda messages, make, to, seconds, part: open_chat(
                to,
                settings,
                messages,
                make,
                seconds=seconds,
                recorder=recorder(written.value, part),
            ),
            make_filter,
            seconds=settings.timeouts.answer,
            repair=self._tools.repair,
        )

    def _watch_for_loops(self, request: GenerationRequest, outcome: Outcome) -> GenerationRequest:
        """Record an agent's loop, and return the request as the settings want it then."""
        loop = loop_watch.find_loop(request.messages)
        if loop is None:
            return request
        if not outcome.loop:  # else this is the second call of the JSON mode
            _log.warning("tool_loop", tool=word(loop.tool), count=loop.count)
            outcome.notice_loop(loop.count)
        return loop_watch.act_on_loop(request, loop, self._tools.loop)

    def _recorder(
        self,
        generation: Generation,
        request: GenerationRequest,
        value: str | None = None,
        part: AnswerPart | None = None,
    ) -> AnswerRecorder | None:
        """Return what records an answer; None when it is not to be recorded."""
        if self._records is None:
            return None
        notation = self._tools.notation_of(generation.model.id)
        return self._records.recorder(generation, request, notation, value, part)


def _report(generation: Generation, offered: OfferedTools) -> None:
    """Record how the tools stand in the prompt, and log once if something was left out."""
    if offered.stage and generation.outcome.offered is None:
        _log.info(
            "tool_descriptions_shortened",
            stage=offered.stage,
            shortened=offered.shortened,
            characters=offered.characters,
        )
    generation.outcome.offer_tools(offered)
