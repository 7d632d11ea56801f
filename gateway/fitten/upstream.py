"""Fitten as an `Upstream`: a generation becomes a call, the call's bytes become pieces."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

import aiohttp
import msgspec
import structlog

from gateway import tokens
from gateway.config import Fitten
from gateway.cutoff import Cutoff
from gateway.errors import GatewayError, UpstreamUnauthorized
from gateway.fitten import models as fitten_models
from gateway.fitten import prompt, tools
from gateway.fitten.body import Body
from gateway.fitten.calibration import Calibration
from gateway.fitten.client import FittenClient, translated
from gateway.fitten.completion import Completions
from gateway.fitten.json_answer import StreamedJson, WholeJson, asking
from gateway.fitten.repetition import Overrun
from gateway.fitten.session import Session
from gateway.fitten.tokenfile import Tokens
from gateway.fitten.toolcutoff import ToolCutoff
from gateway.fitten.watch import Watch
from gateway.fitten.wire import AnswerDecoder, truncated
from gateway.generation import (
    Batches,
    Direct,
    FinishReason,
    Generation,
    GenerationRequest,
    Model,
    Piece,
    Silence,
)

_log = structlog.get_logger("fitten")


class FittenUpstream:
    """Answers from Fitten Code, with one account."""

    def __init__(self, client: FittenClient, session: Session, settings: Fitten) -> None:
        self._client = client
        self._session = session
        self._settings = settings
        self._catalogue = fitten_models.Catalogue()
        self._completions = Completions(client, session, settings.completion)
        self.calibration = Calibration()

    def resolve(self, name: str | None) -> Model:
        return self._catalogue.resolve(name)

    def models(self) -> Sequence[Model]:
        return self._catalogue.models

    @property
    def fault(self) -> str | None:
        """Why no request can be served now; None when one can."""
        if self._session.ready:
            return None
        error = self._session.fault
        return error.message if error else "The login to Fitten has not been made yet."

    async def keep_ready(self) -> None:
        """Log in and read the list of models, now and then again; runs until cancelled."""
        refresh = self._settings.models_refresh
        while True:
            wait = refresh
            try:
                current = await self._session.tokens()
                found = fitten_models.parse(await self._client.chat_models(current.access_token))
                if found:
                    self._catalogue.replace(found)
                _log.debug("models_read", count=len(found))
            except UpstreamUnauthorized:
                _log.info("models_not_read", reason="the list wants another token")
            except GatewayError as error:
                _log.info("models_not_read", reason=error.message)
                if not self._session.ready:
                    wait = min(refresh, error.retry_after or 5.0)
            except Exception:  # a bug here must not end this loop
                _log.exception("bug")
            await asyncio.sleep(wait)

    def generate(self, generation: Generation, silence: Silence | None = None) -> Batches:
        def answer(request: GenerationRequest) -> Answer:
            return Answer(self, generation, silence, self._settings, request)

        request, default_system = generation.request, self._settings.default_system
        if request.fills:
            return self._completions.generate(generation)
        if request.response_format is None:
            return answer(request)
        if request.stream:
            return StreamedJson(answer(asking(request, default_system=default_system)))
        return WholeJson(generation, answer, default_system=default_system)

    async def open(self, text: str, model: Model) -> Body:
        """The response to a prompt, after at most one refresh and one login (protocol 3.4)."""

        def chat(current: Tokens) -> Awaitable[Body]:
            body = _request_body(text, current.user_id, model)
            return self._client.chat(current.user_id, current.access_token, body)

        return await self._session.authorised(chat)


class Answer:
    """Batches of pieces from one response, within the time limits.

    The end of the body that is there already is part of the last batch, so that both can
    leave together. request: what Fitten is asked, which may differ from what the caller asked.
    """

    def __init__(
        self,
        upstream: FittenUpstream,
        generation: Generation,
        silence: Silence | None,
        settings: Fitten,
        request: GenerationRequest,
    ) -> None:
        self._upstream = upstream
        self._generation = generation
        self._silence = silence
        self._settings = settings
        system = settings.default_system
        messages = request.messages
        if tools.needed(request):
            messages = tools.dressed(request, system)
        self._prompt = prompt.render(messages, default_system=system)
        self._pictures = sum(len(image.data) for image in prompt.pictures(messages))
        self._weights = upstream.calibration.of(generation.model.id)
        self._decoder = AnswerDecoder()
        self._cutoff = _cutoff(request)
        self._body: Body | None = None
        self._late: GatewayError | None = None
        self._overrun = Overrun(settings.max_answer_bytes, repetition=settings.stop_repetition)
        self._room = self._overrun.room
        self._taken: list[Piece] = []  # by the tap, for the reader
        self.direct: Direct | None = None
        self.ended = False

    async def __aenter__(self) -> Answer:
        self._watch = Watch(self._settings.timeouts, self._silence, self._expire)
        try:
            # All of the opening, since a renewed session and a repeat have limits of their own.
            async with asyncio.timeout(self._settings.timeouts.first_piece):
                self._body = await self._upstream.open(self._prompt, self._generation.model)
            self._body.tap = self._tap
            if self._late is not None:  # the watch looked while there was nobody to tell
                self._body.fail(self._late)
        except TimeoutError:
            await self._watch.close()
            raise translated(TimeoutError()) from None
        except BaseException:
            await self._watch.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._body is not None:
            self._body.close()
        if self._decoder.skipped:  # trap 6: never text, but worth knowing of
            _log.warning(
                "upstream_lines_skipped", count=self._decoder.skipped, trace=self._decoder.trace
            )
        reason = self._finish_reason
        self._generation.finish_reason = reason
        self._generation.usage = self._weights.usage(
            tokens.size(self._prompt) - self._pictures,
            self._cutoff,
            self._decoder.usage,
            whole=reason is not None,
            max_tokens=self._generation.request.max_tokens,
        )
        await self._watch.close()

    def __aiter__(self) -> Answer:
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
                raise translated(error) from None
            batch, self._taken = self._taken, []
            if data and not self.ended:
                batch += self._take(data)
            if not self.ended and body.at_end():
                batch += self._finish(body)
            if batch:
                self._watch.piece()
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
        self._watch.piece()
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
            error = self._late or self._overrun.look(self._room, pieces)
            self._decoder.error = self._decoder.error or error
            self._room = self._overrun.room
        batch = self._cutoff.feed(pieces)
        if not batch and isinstance(self._cutoff, ToolCutoff) and self._cutoff.advanced():
            self._watch.held()
        self.ended = self._cutoff.finish_reason is not None
        if self._decoder.error is not None and not self.ended:
            self.ended = True
            batch += self._cutoff.flush()
        elif self.ended:
            self._decoder.error = None  # what follows the cut is not part of the answer
        return batch

    def _finish(self, body: Body) -> list[Piece]:
        whole = self._settings.accept_unproven_end or body.framed
        batch = self._cutoff.feed(self._decoder.finish(whole=whole))
        batch += self._cutoff.flush()
        self.ended = True
        if self._cutoff.finish_reason is not None:
            self._decoder.error = None
        return batch

    def _broken(self) -> Sequence[Piece]:
        """The connection broke inside the answer: what is held back goes out before the error."""
        self.ended = True
        self._decoder.error = truncated()
        if batch := self._cutoff.flush():
            return batch
        raise self._decoder.error

    @property
    def _finish_reason(self) -> FinishReason | None:
        """Why the answer ended, if it did so well."""
        if self.ended and self._decoder.error is None:
            return self._cutoff.finish_reason or self._cutoff.natural_reason
        return None


def _cutoff(request: GenerationRequest) -> Cutoff | ToolCutoff:
    """What ends the answer; where tools are offered, it finds the calls too."""
    limits = {"stop": request.stop, "markers": prompt.ROLE_MARKERS}
    if offered := request.offered:
        return ToolCutoff(
            offered,
            parallel=request.parallel_tool_calls,
            max_tokens=request.max_tokens,
            **limits,
        )
    return Cutoff(max_tokens=request.max_tokens, **limits)


def _request_body(text: str, user_id: str, model: Model) -> bytes:
    """Protocol 4.2; the chosen model goes where its section wants it (protocol 5)."""
    meta: dict[str, str] = {"project_id": ""}
    if model.selection_name is not None:
        meta["model" if model.section == "chat" else "agentModel"] = model.selection_name
    return msgspec.json.encode({"inputs": text, "ft_token": user_id, "meta_datas": meta})
