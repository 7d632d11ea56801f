"""Opens a chat and reads its answer as batches of pieces, within the time limits."""

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
from gateway.fitten.chat.runaway import RunawayDetector
from gateway.fitten.chat.timeouts import AnswerTimeouts
from gateway.fitten.chat.usage_estimate import ModelCalibration
from gateway.fitten.error_mapping import truncated_error
from gateway.fitten.http.connection_errors import connection_error
from gateway.fitten.http.response_body import ResponseBody
from gateway.fitten.tools import prompt as tool_prompt
from gateway.fitten.tools.stop_sequences import ToolStopSequenceFilter
from gateway.generation import token_estimate
from gateway.generation.outcome import Generation
from gateway.generation.pieces import FinishReason, Piece, Silence, Sink
from gateway.generation.request import GenerationRequest, inline_images
from gateway.generation.stop_sequences import StopSequenceFilter

_log = structlog.get_logger("fitten")

# Opens the response to a prompt; also returns the lease of the account's slot.
OpenResponse = Callable[[str, Generation], Awaitable[tuple[ResponseBody, Lease[TokenSource]]]]


class ChatAnswer:
    """Reads the pieces of one response in batches, within the time limits; an `Answer`.

    request: what Fitten is asked. It may differ from `generation.request`, which the client
        sent: the JSON mode adds instructions.
    calibration: estimates the usage; learns from the usage that Fitten reports.
    silence: the keep-alives that the client wants while no pieces come, or None.

    The end of the body may arrive together with the last pieces. Then `ended` is set with their
    batch, so that both can be sent at once.
    """

    def __init__(
        self,
        open_response: OpenResponse,
        calibration: ModelCalibration,
        generation: Generation,
        silence: Silence | None,
        settings: FittenSettings,
        request: GenerationRequest,
    ) -> None:
        self._open = open_response
        self._calibration = calibration
        self._generation = generation
        self._silence = silence
        self._settings = settings
        system = settings.default_system
        messages = request.messages
        if tool_prompt.needs_tools(request):
            messages = tool_prompt.write_tools_as_text(request, system)
        self._prompt = prompt.render(messages, default_system=system)
        self._image_chars = sum(len(image.data) for image in inline_images(messages))
        self._decoder = AnswerDecoder()
        self._stop_filter = _stop_filter(request)
        self._body: ResponseBody | None = None
        self._lease: Lease[TokenSource]
        self._timeout_error: GatewayError | None = None
        self._runaway = RunawayDetector(
            settings.max_answer_bytes, repetition=settings.stop_repetition
        )
        self._bytes_to_check = self._runaway.bytes_to_check
        self._pending: list[Piece] = []  # from the tap, for the reader
        self.direct: Sink | None = None
        self.ended = False

    async def __aenter__(self) -> ChatAnswer:
        self._timeouts = AnswerTimeouts(self._settings.timeouts, self._silence, self._on_timeout)
        try:
            # Limits all of the opening, since a login and a repeated call have their own limits.
            async with asyncio.timeout(self._settings.timeouts.first_piece):
                opened = await self._open(self._prompt, self._generation)
            self._body, self._lease = opened
            self._body.tap = self._tap
            if self._timeout_error is not None:  # the time was up before there was a body
                self._body.fail(self._timeout_error)
        except TimeoutError:
            await self._timeouts.close()
            raise connection_error(TimeoutError()) from None
        except BaseException:
            await self._timeouts.close()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._body is not None:
            try:
                self._body.close()
            finally:
                self._lease.end((exc[1] if exc else None) or self._decoder.error)
        if self._decoder.skipped:  # trap 6: such lines are never text, but the log counts them
            _log.warning(
                "upstream_lines_skipped", count=self._decoder.skipped, trace=self._decoder.trace
            )
        reason = self._finish_reason
        self._generation.finish_reason = reason
        self._generation.usage = self._calibration.usage(
            token_estimate.size(self._prompt) - self._image_chars,
            self._stop_filter,
            self._decoder.usage,
            whole=reason is not None,
            max_tokens=self._generation.request.max_tokens,
        )
        await self._timeouts.close()

    def __aiter__(self) -> ChatAnswer:
        return self

    async def __anext__(self) -> Sequence[Piece]:
        body = self._body
        assert body is not None
        while not self.ended:
            try:
                data = await body.read()
            except aiohttp.ClientPayloadError:
                return self._end_broken()
            except (aiohttp.ClientError, OSError) as error:
                raise connection_error(error) from None
            batch, self._pending = self._pending, []
            if data and not self.ended:
                batch += self._decode(data)
            if not self.ended and body.at_end():
                batch += self._finish(body)
            if batch:
                self._timeouts.note_piece()
                return batch
        if self._decoder.error is not None:
            raise self._decoder.error
        raise StopAsyncIteration

    def _tap(self, data: bytes) -> bool:
        """Decode data that arrive while the reader waits; pass the pieces to the sink.

        Return False to wake the reader: the answer ended, or the sink did not take the batch.
        """
        batch = self._decode(data)
        if not batch or self.ended or self.direct is None or not self.direct(batch):
            self._pending = batch
            return not batch and not self.ended
        self._timeouts.note_piece()
        return True

    def _on_timeout(self, error: GatewayError) -> None:
        """Make the reader see that a time limit has passed."""
        self._timeout_error = error
        # If data arrive without a pause, the reader does not notice that the body failed. With 0
        # here, `_decode` takes the error up with the next data.
        self._bytes_to_check = 0
        if self._body is not None:
            self._body.fail(error)

    def _decode(self, data: bytes) -> list[Piece]:
        """Return the pieces that can be sent after these data; set `ended` at the end."""
        pieces = self._decoder.feed(data)
        self._bytes_to_check -= len(data)
        if self._bytes_to_check < 0:
            error = self._timeout_error or self._runaway.check(self._bytes_to_check, pieces)
            self._decoder.error = self._decoder.error or error
            self._bytes_to_check = self._runaway.bytes_to_check
        batch = self._stop_filter.feed(pieces)
        if (
            not batch
            and isinstance(self._stop_filter, ToolStopSequenceFilter)
            and self._stop_filter.advanced()
        ):
            self._timeouts.note_held_text()
        self.ended = self._stop_filter.finish_reason is not None
        if self._decoder.error is not None and not self.ended:
            self.ended = True
            batch += self._stop_filter.flush()
        elif self.ended:
            self._decoder.error = None  # what follows the stop is not part of the answer
        return batch

    def _finish(self, body: ResponseBody) -> list[Piece]:
        """Return the last pieces, at the end of the body."""
        whole = self._settings.accept_unproven_end or body.framed
        batch = self._stop_filter.feed(self._decoder.finish(whole=whole))
        batch += self._stop_filter.flush()
        self.ended = True
        if self._stop_filter.finish_reason is not None:
            self._decoder.error = None
        return batch

    def _end_broken(self) -> Sequence[Piece]:
        """Return the text that was held back; raise the error if there is none.

        The connection broke within the answer. The error is raised after the last batch.
        """
        self.ended = True
        self._decoder.error = truncated_error()
        if batch := self._stop_filter.flush():
            return batch
        raise self._decoder.error

    @property
    def _finish_reason(self) -> FinishReason | None:
        """Return why the answer ended; None if it did not end or ended with an error."""
        if self.ended and self._decoder.error is None:
            return self._stop_filter.finish_reason or self._stop_filter.natural_reason
        return None


def _stop_filter(request: GenerationRequest) -> StopSequenceFilter | ToolStopSequenceFilter:
    """Return the filter that ends the answer; with tools, it also finds the calls."""
    limits = {"stop": request.stop, "markers": prompt.ROLE_MARKERS}
    if offered := request.offered:
        return ToolStopSequenceFilter(
            offered,
            parallel=request.parallel_tool_calls,
            max_tokens=request.max_tokens,
            **limits,
        )
    return StopSequenceFilter(max_tokens=request.max_tokens, **limits)
