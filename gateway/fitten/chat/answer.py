"""Opens a chat and sends its answer to a sink, within the time limits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import aiohttp
import structlog

from gateway.accounts.interface import Lease
from gateway.config.settings import FittenSettings
from gateway.errors import GatewayError
from gateway.fitten.auth.reauthenticate import TokenSource
from gateway.fitten.chat import prompt
from gateway.fitten.chat.decoder import AnswerDecoder
from gateway.fitten.chat.role_markers import RoleMarkerRestorer, escape_role_markers
from gateway.fitten.chat.runaway import RunawayDetector
from gateway.fitten.chat.timeouts import AnswerTimeouts
from gateway.fitten.chat.usage_estimate import ModelCalibration
from gateway.fitten.conversation import begun_answer
from gateway.fitten.deadline import Deadline
from gateway.fitten.error_mapping import truncated_error
from gateway.fitten.http.connection_errors import connection_detail, connection_error
from gateway.fitten.http.response_body import ResponseBody
from gateway.fitten.prompt_limit import MAX_CHARS, max_chars
from gateway.fitten.tools.recorder import AnswerRecorder
from gateway.fitten.tools.stop_sequences import ToolStopSequenceFilter
from gateway.generation import token_estimate
from gateway.generation.outcome import AnswerResult
from gateway.generation.pieces import FinishReason, Piece, Sink, merge
from gateway.generation.request import (
    Generation,
    Message,
    inline_images,
)
from gateway.generation.stop_sequences import StopSequenceFilter

_log = structlog.get_logger("fitten")

# Opens the response to a prompt; also returns the lease of the account's slot.
OpenResponse = Callable[
    [str, Generation, Deadline], Awaitable[tuple[ResponseBody, Lease[TokenSource]]]
]

AnswerFilter = StopSequenceFilter | ToolStopSequenceFilter


class ChatAnswer:
    """Sends the pieces of one response to a sink; an `Answer`.

    messages: what Fitten is asked. They may differ from `generation.request`, which the client
        sent: the JSON mode adds instructions, and tools are written as text.
    make_filter: makes the filter that ends the answer, of the arguments of `StopSequenceFilter`.
    seconds: the longest time of the answer, if it is less than the settings allow.
    calibration: estimates the usage; learns from the usage that Fitten reports.
    recorder: collects the answer, to keep it if it could not be read; None for most requests.

    The end of the body may arrive together with the last pieces. Then the sink holds their
    batch, so that both can be sent at once.
    """

    def __init__(
        self,
        open_response: OpenResponse,
        calibration: ModelCalibration,
        generation: Generation,
        sink: Sink,
        settings: FittenSettings,
        messages: Sequence[Message],
        make_filter: Callable[..., AnswerFilter],
        *,
        seconds: float | None = None,
        recorder: AnswerRecorder | None = None,
    ) -> None:
        self._open = open_response
        self._calibration = calibration
        self._generation = generation
        self._sink = sink
        self._recorder = recorder
        self._settings = settings
        self._limits = settings.timeouts
        if seconds is not None:
            self._limits = self._limits.within(seconds)
        levels: set[int] = set()
        self._prompt = prompt.render(
            messages,
            default_system=settings.default_system,
            limit=max_chars(generation.request) if generation.request.keeps_reserve else MAX_CHARS,
            levels=levels,
        )
        # Images are left out, since it is not known how Fitten counts them.
        self._prompt_bytes = token_estimate.size_of_prompt(self._prompt)
        if images := inline_images(messages):
            self._prompt_bytes -= sum(len(image.data) for image in images)
        generation.outcome.estimate_prompt(calibration.prompt.estimate(self._prompt_bytes))
        self._decoder = AnswerDecoder(clock=asyncio.get_running_loop().time)
        # Nearly all prompts have no role marker to escape; their answers pay nothing.
        self._levels = levels
        self._restorer = RoleMarkerRestorer(levels) if levels else None
        self._hides_reasoning = not generation.request.reasoning
        stops = generation.request.stop
        self._escaped_stops = _escaped_stops(stops, levels) if levels else {}
        begun = begun_answer(messages)
        self.stop_filter = self._stop_filter = make_filter(
            stop=(*stops, *self._escaped_stops),
            markers=prompt.ROLE_MARKERS,
            opening=prompt.OPENING,
            begun="" if begun is None else begun.text,
            max_tokens=generation.request.max_tokens,
        )
        self._runaway = RunawayDetector(
            settings.max_answer_bytes, repetition=settings.stop_repetition
        )
        self._bytes_to_check = self._runaway.bytes_to_check
        self._body: ResponseBody | None = None
        self._timeouts: AnswerTimeouts
        self._timeout_error: GatewayError | None = None
        self._taken: list[Piece] = []  # pieces that the sink did not take at once
        self._read: tuple[bytes, GatewayError | None] | None = None  # data, or why there are none
        self._begun = False
        self._ended = False
        self.result = AnswerResult()

    async def run(self) -> None:
        """Open the response, send its pieces, and close it; see `Answer`."""
        self._timeouts = AnswerTimeouts(self._limits, self._sink, self._on_timeout)
        deadline = self._timeouts.deadline
        try:
            self._body, lease = await self._open(self._prompt, self._generation, deadline)
            try:
                await self._send_pieces(self._body)
            except BaseException as error:
                self._close(self._body, lease, error)
                raise
            self._close(self._body, lease, None)
        finally:
            await self._timeouts.close()

    async def _send_pieces(self, body: ResponseBody) -> None:
        """Send all pieces to the sink, then raise the answer's error, if it has one."""
        if self._timeout_error is not None:  # the time was up before there was a body
            body.fail(self._timeout_error)
        body.take = self._take
        while True:
            if self._decoder.has_parts:
                await asyncio.sleep(0)  # others may run before more of a long line is read
            elif self._read is None:
                try:
                    self._read = await body.read(), None
                except (aiohttp.ClientError, OSError, GatewayError) as failure:
                    self._read = b"", _why_no_more(failure)
            batch = self._next_batch(body)
            if batch:
                self._timeouts.note_piece()
                if self._begun:  # the client reads slowly: many pieces would wait with it
                    batch = merge(batch)
                self._begun = True
                self._generation.outcome.receive_first_piece()
                if self._recorder is not None:
                    self._recorder.deliver(batch)
                if not self._ended:
                    await self._sink.put(batch)
                    continue
                self._sink.hold(batch)
            if self._ended:
                break
        if self._decoder.error is not None:
            raise self._decoder.error

    def _next_batch(self, body: ResponseBody) -> list[Piece]:
        """Return the pieces that can be sent now; set `_ended` with the last ones."""
        batch, self._taken = self._taken, []
        if self._ended:
            return batch
        if self._decoder.has_parts:  # what was read comes behind them
            return batch + self._decode(b"")
        data, error = self._read or (b"", None)
        self._read = None
        if error is not None:
            self._ended = True
            self._decoder.error = error
            return batch + self._restore(self._stop_filter.flush(whole=False))
        if data:
            batch += self._decode(data)
        if not self._ended and not self._decoder.has_parts and body.at_end():
            batch += self._finish(body)
        return batch

    def _take(self, data: bytes) -> None:
        """Send the pieces of data that arrive while the reader waits, without waking it.

        The reader is woken when the answer has ended, or when the sink cannot take the batch.
        """
        batch = self._decode(data)
        if not self._ended and not self._decoder.has_parts:
            if not batch:
                return
            if self._begun and self._sink.take(batch):
                self._timeouts.note_piece()
                if self._recorder is not None:
                    self._recorder.deliver(batch)
                return
        self._taken = batch
        if self._body is not None:
            self._body.wake()

    def _decode(self, data: bytes) -> list[Piece]:
        """Return the pieces that can be sent after these data; set `_ended` at the end.

        data: b"" for the next part of a long line.
        """
        pieces = self._decoder.feed(data) if data else self._decoder.next_part()
        if self._recorder is not None:
            self._recorder.receive(pieces)
        self._bytes_to_check -= len(data)
        if self._bytes_to_check < 0:
            error = self._timeout_error or self._runaway.check(self._bytes_to_check, pieces)
            self._decoder.error = self._decoder.error or error
            self._bytes_to_check = self._runaway.bytes_to_check
        batch = self._stop_filter.feed(pieces)
        if self._hides_reasoning and batch:
            batch = [piece for piece in batch if piece[0] != "reasoning"]
            if not batch:
                self._timeouts.note_held_text()
        if (
            not batch
            and isinstance(self._stop_filter, ToolStopSequenceFilter)
            and self._stop_filter.advanced()
        ):
            self._timeouts.note_held_text()
        self._ended = self._stop_filter.finish_reason is not None
        if self._ended and isinstance(self._stop_filter, ToolStopSequenceFilter):
            self._stop_filter.needs_repair()
        if self._decoder.error is not None and not self._ended:
            self._ended = True
            batch += self._stop_filter.flush(whole=False)
        elif self._ended:
            self._decoder.error = None  # what follows the stop is not part of the answer
        return batch if self._restorer is None else self._restore(batch)

    def _finish(self, body: ResponseBody) -> list[Piece]:
        """Return the last pieces, at the end of the body; after a long line, once per part."""
        whole = self._settings.accept_unproven_end or body.framed
        pieces = self._decoder.finish(whole=whole)
        if self._recorder is not None:
            self._recorder.receive(pieces)
        batch = self._stop_filter.feed(pieces)
        if self._decoder.has_parts:
            return self._restore(batch)
        self._ended = True
        whole = self._decoder.error is None
        if (
            (whole or self._decoder.empty)
            and isinstance(self._stop_filter, ToolStopSequenceFilter)
            and self._stop_filter.needs_repair()
        ):
            self._decoder.error = None
            # What is held back belongs to the answer that follows.
            return batch if self._restorer is None else self._restore(batch)
        batch += self._stop_filter.flush(whole=whole)
        if self._stop_filter.finish_reason is not None:
            self._decoder.error = None
        return batch if self._restorer is None else self._restore(batch)

    def restore(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Return pieces that this answer has not sent, with the client's role markers."""
        return RoleMarkerRestorer(self._levels).feed(pieces, last=True)

    def _restore(self, batch: list[Piece]) -> list[Piece]:
        """Return the pieces with the client's role markers; see `RoleMarkerRestorer`."""
        return batch if self._restorer is None else self._restorer.feed(batch, last=self._ended)

    def _on_timeout(self, error: GatewayError) -> None:
        """Make the reader see that a time limit has passed."""
        self._timeout_error = error
        # If data arrive without a pause, the reader does not notice that the body failed. With -1
        # here, `_decode` takes the error up with the next data.
        self._bytes_to_check = -1
        if self._body is not None:
            self._body.fail(error)

    def _close(
        self, body: ResponseBody, lease: Lease[TokenSource], error: BaseException | None
    ) -> None:
        """Close the response, release the slot and set `result`. error: what ended the answer."""
        try:
            body.close()
        finally:
            lease.end(error)
        decoder, stop_filter = self._decoder, self._stop_filter
        if decoder.skipped:  # trap 6: such lines are never text, but the log counts them
            _log.warning("upstream_lines_skipped", count=decoder.skipped, trace=decoder.trace)
        unchecked = unreadable = False
        repaired: str | None = None
        if self._generation.request.tools and isinstance(stop_filter, ToolStopSequenceFilter):
            unchecked, unreadable = stop_filter.unchecked, stop_filter.unreadable
            repaired = stop_filter.fault
            if unchecked:
                _log.warning("tool_arguments_unchecked", trace=decoder.trace)
        reason = self._finish_reason
        usage = self._calibration.usage(
            self._prompt_bytes,
            stop_filter,
            decoder.usage,
            whole=reason is not None,
            max_tokens=self._generation.request.max_tokens,
        )
        reasons = () if reason is None else (reason,)
        stop = stop_filter.stop_sequence
        self.result = AnswerResult(
            usage,
            reasons,
            stop if stop is None else self._escaped_stops.get(stop, stop),
            arguments_unchecked=unchecked,
        )
        if self._recorder is not None:
            stopped = stop_filter.stop_sequence is not None
            self._recorder.close(
                finish_reason=reason,
                stopped=stopped,
                error=error,
                unreadable=unreadable,
                repaired=repaired,
                loop=self._generation.outcome.loop,
            )

    @property
    def _finish_reason(self) -> FinishReason | None:
        """Return why the answer ended; None if it did not end or ended with an error."""
        if self._ended and self._decoder.error is None:
            return self._stop_filter.finish_reason or self._stop_filter.natural_reason
        return None


def _why_no_more(failure: Exception) -> GatewayError:
    """Return the error of an answer whose body could not be read further."""
    if isinstance(failure, GatewayError):
        return failure
    if isinstance(failure, aiohttp.ClientPayloadError):
        truncated = truncated_error()
        truncated.detail = connection_detail(failure)
        return truncated
    return connection_error(failure)


def _escaped_stops(stops: Sequence[str], levels: set[int]) -> dict[str, str]:
    """Return the client's stop strings by the form in which the prompt has them.

    A model may copy that form, and the client would get its stop string. Strings without role
    markers are left out.
    """
    found = {}
    for stop in stops:
        used: set[int] = set()
        escaped = escape_role_markers(stop, used)
        if used and used <= levels:
            found[escaped] = stop
    return found
