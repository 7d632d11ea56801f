"""Fitten as an `Upstream`: a generation becomes a call, the call's bytes become pieces."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal

import aiohttp
import msgspec
import structlog

from gateway import tokens
from gateway.config import Fitten
from gateway.cutoff import Cutoff
from gateway.errors import GatewayError, UpstreamTimeout, UpstreamUnauthorized
from gateway.fitten import models as fitten_models
from gateway.fitten import prompt
from gateway.fitten.client import FittenClient, translated
from gateway.fitten.session import Session
from gateway.fitten.wire import AnswerDecoder, truncated
from gateway.generation import Generation, Model, Piece, Silence, Usage

_log = structlog.get_logger("fitten")


class FittenUpstream:
    """Answers from Fitten Code, with one account."""

    def __init__(self, client: FittenClient, session: Session, settings: Fitten) -> None:
        self._client = client
        self._session = session
        self._settings = settings
        self._catalogue = fitten_models.Catalogue()

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

    @asynccontextmanager
    async def generate(
        self, generation: Generation, silence: Silence | None = None
    ) -> AsyncIterator[Answer]:
        request = generation.request
        text = prompt.render(request.messages, default_system=self._settings.default_system)
        cutoff = Cutoff(
            stop=request.stop, markers=prompt.ROLE_MARKERS, max_tokens=request.max_tokens
        )
        async with AsyncExitStack() as stack:
            answer = Answer(cutoff, self._settings, silence)
            opening = self._open(stack, text, generation.model)
            if silence is None:
                answer.response = await opening
            else:
                # A task, so that signs of silence can be given while it is under way.
                answer.response = asyncio.create_task(opening)
                stack.push_async_callback(_end, answer.response)
            try:
                yield answer
            finally:
                generation.usage = answer.usage(tokens.size(text))
                generation.finish_reason = answer.finish_reason

    async def _open(self, stack: AsyncExitStack, text: str, model: Model) -> aiohttp.ClientResponse:
        """The answer's response, after at most one refresh and one login (protocol 3.4)."""
        current = await self._session.tokens()
        ways: list[Literal["login", "refresh"]] = ["login", "refresh"]
        while True:
            body = _body(text, current.user_id, model)
            try:
                return await stack.enter_async_context(
                    self._client.chat(current.user_id, current.access_token, body)
                )
            except UpstreamUnauthorized as error:
                if not ways:
                    raise self._session.refused() from error
                way = ways.pop()
                _log.info("token_refused", next_step=way)
                current = await self._session.replace(current, way)


async def _end(task: asyncio.Task[aiohttp.ClientResponse]) -> None:
    """Nobody waits for the opening any more."""
    if not task.done():
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # seen by who waited, if anybody did


class Answer:
    """Batches of pieces from one response, within the time limits.

    The limits count from its making; `response`, or the task that will have it, is set next.
    An empty batch is a sign of silence, as `Upstream.generate` says. The end of the body
    that is there already is part of the last batch, so that both can leave together.
    """

    def __init__(
        self,
        cutoff: Cutoff,
        settings: Fitten,
        silence: Silence | None,
    ) -> None:
        self.response: aiohttp.ClientResponse | asyncio.Task[aiohttp.ClientResponse]
        self._decoder = AnswerDecoder()
        self._cutoff = cutoff
        self._timeouts = settings.timeouts
        self._needs_proof = not settings.accept_unproven_end
        self._silence = silence
        self._clock = asyncio.get_running_loop().time
        self._deadline = self._clock() + settings.timeouts.first_piece
        self._next_sign = self._clock() + silence.grace if silence else math.inf
        self.ended = False

    def __aiter__(self) -> Answer:
        return self

    async def __anext__(self) -> Sequence[Piece]:
        if isinstance(self.response, asyncio.Task):
            await asyncio.wait([self.response], timeout=self._next_sign - self._clock())
            if not self.response.done():
                return self._sign()
            self.response = self.response.result()
        while not self.ended:
            try:
                async with asyncio.timeout_at(min(self._deadline, self._next_sign)):
                    data = await self.response.content.readany()
            except TimeoutError:
                if self._clock() < self._deadline:
                    return self._sign()
                raise UpstreamTimeout("Fitten fell silent; please try again.") from None
            except aiohttp.ClientPayloadError:
                return self._broken()
            except (aiohttp.ClientError, OSError) as error:
                raise translated(error) from None
            batch = self._take(data) if data else []
            if not self.ended and self.response.content.at_eof():
                batch += self._finish(self.response)
            if batch:
                now = self._clock()
                self._deadline = now + self._timeouts.between_pieces
                if self._silence is not None:
                    self._next_sign = now + self._silence.interval
                return batch
        if self._decoder.error is not None:
            raise self._decoder.error
        raise StopAsyncIteration

    def _sign(self) -> Sequence[Piece]:
        assert self._silence is not None
        self._next_sign = self._clock() + self._silence.interval
        return ()

    def _take(self, data: bytes) -> list[Piece]:
        batch = self._cutoff.feed(self._decoder.feed(data))
        self.ended = self._cutoff.finish_reason is not None
        if self._decoder.error is not None and not self.ended:
            self.ended = True
            batch += self._cutoff.flush()
        elif self.ended:
            self._decoder.error = None  # what follows the cut is not part of the answer
        return batch

    def _finish(self, response: aiohttp.ClientResponse) -> list[Piece]:
        whole = not self._needs_proof or _is_framed(response)
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
    def finish_reason(self) -> Any:
        """Why the answer ended, if it did so well."""
        if self.ended and self._decoder.error is None:
            return self._cutoff.finish_reason or "stop"
        return None

    def usage(self, prompt_bytes: int) -> Usage:
        """Token counts: the upstream's own where it gave them, else an estimate."""
        counted = self._decoder.usage
        cutoff = self._cutoff
        if counted is not None and (counted.output_tokens or not self._decoder.spoke):
            return Usage(
                counted.input_tokens,
                counted.output_tokens,
                min(cutoff.reasoning_tokens, counted.output_tokens),
            )
        return Usage(
            tokens.estimate(prompt_bytes),
            cutoff.completion_tokens,
            cutoff.reasoning_tokens,
            estimated=True,
        )


def _is_framed(response: aiohttp.ClientResponse) -> bool:
    """Whether the end of the body was announced rather than a closed connection (RFC 9112, 6.3).

    aiohttp raises ClientPayloadError when a chunked or counted body ends early, so a
    normal end of such a body is proof.
    """
    headers = response.headers
    return "Content-Length" in headers or "chunked" in headers.get("Transfer-Encoding", "").lower()


def _body(text: str, user_id: str, model: Model) -> bytes:
    """Protocol 4.2; the chosen model goes where its section wants it (protocol 5)."""
    meta: dict[str, str] = {"project_id": ""}
    if model.selection_name is not None:
        meta["model" if model.section == "chat" else "agentModel"] = model.selection_name
    return msgspec.json.encode({"inputs": text, "ft_token": user_id, "meta_datas": meta})
