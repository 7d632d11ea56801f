"""A chat's answer: batches of pieces from one response, within the time limits."""

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
from gateway.fitten.http.connection_errors import from_client_error
from gateway.fitten.http.response_body import ResponseBody
from gateway.fitten.tools import prompt as tool_prompt
from gateway.fitten.tools.stop_sequences import ToolStopSequenceFilter
from gateway.generation import token_estimate
from gateway.generation.outcome import Generation
from gateway.generation.pieces import FinishReason, Piece, Silence, Sink
from gateway.generation.request import GenerationRequest, inline_images
from gateway.generation.stop_sequences import StopSequenceFilter

_log = structlog.get_logger("fitten")

# Opens the response to a prompt, with the slot of an account that it holds.
OpenResponse = Callable[[str, Generation], Awaitable[tuple[ResponseBody, Lease[TokenSource]]]]


class ChatAnswer:
    """Batches of pieces from one response, within the time limits.

    The end of the body that is there already is part of the last batch, so that both can
    leave together. request: what Fitten is asked, which may differ from what the caller asked.
    """

    def __init__(
        self,
        open_response: OpenResponse,
        weights: ModelCalibration,
        generation: Generation,
        silence: Silence | None,
        settings: FittenSettings,
        request: GenerationRequest,
    ) -> None:
        self._open = open_response
        self._weights = weights
        self._generation = generation
        self._silence = silence
        self._settings = settings
        system = settings.default_system
        messages = request.messages
        if tool_prompt.needs_tools(request):
            messages = tool_prompt.with_tools_as_text(request, system)
        self._prompt = prompt.render(messages, default_system=system)
        self._pictures = sum(len(image.data) for image in inline_images(messages))
        self._decoder = AnswerDecoder()
        self._stop_filter = _stop_filter(request)
        self._body: ResponseBody | None = None
        self._lease: Lease[TokenSource]
        self._late: GatewayError | None = None
        self._runaway = RunawayDetector(
            settings.max_answer_bytes, repetition=settings.stop_repetition
        )
        self._room = self._runaway.room
        self._taken: list[Piece] = []  # by the tap, for the reader
        self.direct: Sink | None = None
        self.ended = False

    async def __aenter__(self) -> ChatAnswer:
        self._limits = AnswerTimeouts(self._settings.timeouts, self._silence, self._expire)
        try:
            # All of the opening, since a renewed session and a repeat have limits of their own.
            async with asyncio.timeout(self._settings.timeouts.first_piece):
                opened = await self._open(self._prompt, self._generation)
            self._body, self._lease = opened
            self._body.tap = self._tap
            if self._late is not None:  # the watch looked while there was nobody to tell
                self._body.fail(self._late)
        except TimeoutError:
            await self._limits.close()
            raise from_client_error(TimeoutError()) from None
        except BaseException:
            await self._limits.close()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._body is not None:
            try:
                self._body.close()
            finally:
                self._lease.end((exc[1] if exc else None) or self._decoder.error)
        if self._decoder.skipped:  # trap 6: never text, but worth knowing of
            _log.warning(
                "upstream_lines_skipped", count=self._decoder.skipped, trace=self._decoder.trace
            )
        reason = self._finish_reason
        self._generation.finish_reason = reason
        self._generation.usage = self._weights.usage(
            token_estimate.size(self._prompt) - self._pictures,
            self._stop_filter,
            self._decoder.usage,
            whole=reason is not None,
            max_tokens=self._generation.request.max_tokens,
        )
        await self._limits.close()

    def __aiter__(self) -> ChatAnswer:
        return self

    async def __anext__(self) -> Sequence[Piece]:
        body = self._body
        assert body is not None
        while not self.ended:
            try:
                data = await body.read()
            except aiohttp.ClientPayloadError:
                return self._broken()
            except (aiohttp.ClientError, OSError) as error:
                raise from_client_error(error) from None
            batch, self._taken = self._taken, []
            if data and not self.ended:
                batch += self._take(data)
            if not self.ended and body.at_end():
                batch += self._finish(body)
            if batch:
                self._limits.piece()
                return batch
        if self._decoder.error is not None:
            raise self._decoder.error
        raise StopAsyncIteration

    def _tap(self, data: bytes) -> bool:
        """Data that comes while the reader waits; False when the reader has to see to it."""
        batch = self._take(data)
        if not batch or self.ended or self.direct is None or not self.direct(batch):
            self._taken = batch
            return not batch and not self.ended
        self._limits.piece()
        return True

    def _expire(self, error: GatewayError) -> None:
        """The upstream was silent, or spoke, for too long: whoever reads is told."""
        self._late = error
        self._room = 0  # an upstream that never pauses would not let a reader see it
        if self._body is not None:
            self._body.fail(error)

    def _take(self, data: bytes) -> list[Piece]:
        pieces = self._decoder.feed(data)
        self._room -= len(data)
        if self._room < 0:
            error = self._late or self._runaway.look(self._room, pieces)
            self._decoder.error = self._decoder.error or error
            self._room = self._runaway.room
        batch = self._stop_filter.feed(pieces)
        if (
            not batch
            and isinstance(self._stop_filter, ToolStopSequenceFilter)
            and self._stop_filter.advanced()
        ):
            self._limits.held()
        self.ended = self._stop_filter.finish_reason is not None
        if self._decoder.error is not None and not self.ended:
            self.ended = True
            batch += self._stop_filter.flush()
        elif self.ended:
            self._decoder.error = None  # what follows the cut is not part of the answer
        return batch

    def _finish(self, body: ResponseBody) -> list[Piece]:
        whole = self._settings.accept_unproven_end or body.framed
        batch = self._stop_filter.feed(self._decoder.finish(whole=whole))
        batch += self._stop_filter.flush()
        self.ended = True
        if self._stop_filter.finish_reason is not None:
            self._decoder.error = None
        return batch

    def _broken(self) -> Sequence[Piece]:
        """The connection broke inside the answer: what is held back goes out before the error."""
        self.ended = True
        self._decoder.error = truncated_error()
        if batch := self._stop_filter.flush():
            return batch
        raise self._decoder.error

    @property
    def _finish_reason(self) -> FinishReason | None:
        """Why the answer ended, if it did so well."""
        if self.ended and self._decoder.error is None:
            return self._stop_filter.finish_reason or self._stop_filter.natural_reason
        return None


def _stop_filter(request: GenerationRequest) -> StopSequenceFilter | ToolStopSequenceFilter:
    """What ends the answer; where tools are offered, it finds the calls too."""
    limits = {"stop": request.stop, "markers": prompt.ROLE_MARKERS}
    if offered := request.offered:
        return ToolStopSequenceFilter(
            offered,
            parallel=request.parallel_tool_calls,
            max_tokens=request.max_tokens,
            **limits,
        )
    return StopSequenceFilter(max_tokens=request.max_tokens, **limits)
