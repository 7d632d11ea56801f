"""Handles the requests of all endpoints: parse, ask the upstream, answer whole or as a stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import structlog
from aiohttp import web

from gateway.admission.admission import AdmissionControl
from gateway.admission.live import SENDING, ended_error
from gateway.apis.base import ConversationEndpoint, Dialect, Endpoint, ResponseEncoder
from gateway.config.settings import StreamSettings
from gateway.errors import GatewayError, InternalError
from gateway.generation.model import Model
from gateway.generation.pieces import PieceCollector
from gateway.generation.request import Generation, GenerationRequest
from gateway.generation.upstream import Upstream
from gateway.http.body_repair import parse_repaired
from gateway.http.in_flight import InFlightRequests, draining_error
from gateway.http.request_body import RequestBodyReader
from gateway.http.routing import BODY_DIALECT
from gateway.http.sse import EventStream
from gateway.images.fetch import ImageFetcher
from gateway.middleware import GENERATION, OUTCOME, RESPONSE_HEADERS, principal_of
from gateway.redaction import word

_log = structlog.get_logger("handler")


ReadBody = Callable[[web.Request, bytes], tuple[GenerationRequest, Endpoint]]
"""Parses a body, and returns with it the endpoint that encodes the answer."""


def read_own(endpoint: Endpoint) -> ReadBody:
    """Return what reads the bodies of a route in its own dialect only."""

    def read(_: web.Request, body: bytes) -> tuple[GenerationRequest, Endpoint]:
        return endpoint.parse(body), endpoint

    return read


@dataclass(frozen=True, slots=True)
class ReadBySigns:
    """Reads bodies in the dialect that they are written in, whatever the dialect of the route is.

    own: the route's endpoint, for bodies without a sign. parse: parses the JSON object of a body.
    signed: the dialects that have signs, in the order in which they are asked.
    """

    own: ConversationEndpoint
    parse: Callable[[bytes], dict[str, Any]]
    signed: Sequence[tuple[Dialect, ConversationEndpoint]]

    def __call__(self, request: web.Request, body: bytes) -> tuple[GenerationRequest, Endpoint]:
        """Read a body, once it is known whose it is. Raises InvalidRequest.

        The request keeps another dialect than the route's: errors are rendered in it too.
        """
        data = self.parse(body)
        for dialect, endpoint in self.signed:
            if dialect.owns(data, request.headers):
                if endpoint is not self.own:
                    request[BODY_DIALECT] = dialect
                return endpoint.read(data), endpoint
        return self.own.read(data), self.own


class GenerationHandler:
    """Answers the requests of a route from the upstream. read: parses their bodies."""

    def __init__(
        self,
        read: ReadBody,
        upstream: Upstream,
        images: ImageFetcher,
        in_flight: InFlightRequests,
        bodies: RequestBodyReader,
        stream: StreamSettings,
        admission: AdmissionControl,
    ) -> None:
        self._read = read
        self._admission = admission
        self._images = images
        self._in_flight = in_flight
        self._upstream = upstream
        self._bodies = bodies
        self._stream = stream

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request. Raises GatewayError when it fails before anything was sent."""
        try:
            parsed, endpoint = await self._bodies.parse(
                request, partial(parse_repaired, request, partial(self._read, request))
            )
        except GatewayError:
            await self._admission.look(request)  # who is over a limit is told that first
            raise
        # Completions have one model; editors name the model whose notation they write.
        model = self._upstream.resolve(None if parsed.fills else parsed.model)
        try:
            await self._admission.admit(request, parsed, model)
            generation = await self._generation(request, parsed, model)
            encoder = endpoint.encoder(generation)
            if parsed.stream:
                return await self._answer_stream(request, generation, encoder)
            return await self._answer_whole(request, generation, encoder)
        except (asyncio.CancelledError, ConnectionError):
            error = self._interruption(request)
            if error is not None:
                raise error from None
            raise
        finally:
            self._admission.settle(request)

    async def _generation(
        self, request: web.Request, parsed: GenerationRequest, model: Model
    ) -> Generation:
        """Return what the body asks for; the request keeps it for the middlewares."""
        if [message for message in parsed.messages if message.images]:
            parsed = replace(parsed, messages=await self._images.fetched(parsed.messages))
        if parsed.ignored:
            request[RESPONSE_HEADERS]["x-fitten-ignored-params"] = ", ".join(parsed.ignored)
        name = None if parsed.model is None else _shown_name(parsed.model, model)
        generation = Generation(parsed, model, request[OUTCOME], principal_of(request), name)
        request[GENERATION] = generation
        return generation

    async def _answer_whole(
        self, request: web.Request, generation: Generation, encoder: ResponseEncoder
    ) -> web.StreamResponse:
        collector = PieceCollector()
        await self._upstream.generate(generation, collector)
        outcome, headers = generation.outcome, request[RESPONSE_HEADERS]
        if outcome.format_missed:
            headers["x-fitten-response-format"] = "mismatch"
        elif outcome.format_unchecked:
            headers["x-fitten-response-format"] = "unchecked"
        if outcome.arguments_unchecked:
            headers["x-fitten-tool-arguments"] = "unchecked"
        if outcome.repaired is not None:
            headers["x-fitten-repaired"] = outcome.repaired
        body = encoder.whole(collector.pieces)
        return web.Response(body=body, content_type="application/json")

    async def _answer_stream(
        self, request: web.Request, generation: Generation, encoder: ResponseEncoder
    ) -> web.StreamResponse:
        """Send nothing until the first piece, or `stream.grace`: an error has its status then."""
        request[SENDING] = stream = EventStream(request, encoder, self._stream)
        try:
            try:
                await self._upstream.generate(generation, stream)
                # The upstream is closed by now, also when the answer was cut.
                return await stream.end(encoder.end)
            except (Exception, asyncio.CancelledError) as failure:
                error = self._frame_for(failure, request, stream)
                if error is None:
                    raise
            # The answer has begun, so the error is a frame. No `[DONE]` follows it.
            generation.outcome.fail(error, status=200)
            return await stream.end(lambda: encoder.error(error))
        finally:
            generation.outcome.send(stream.bytes_sent)
            del request[SENDING]  # each holds the other: both would be garbage of a cycle

    def _interruption(self, request: web.Request) -> GatewayError | None:
        """Return why this gateway has cancelled a request; None if it was not the gateway."""
        if self._admission.live.was_ended(request):
            return ended_error()
        return draining_error() if self._in_flight.interrupted else None

    def _frame_for(
        self, failure: BaseException, request: web.Request, stream: EventStream
    ) -> GatewayError | None:
        """Return the error that ends a stream; None if no frame can show it."""
        if isinstance(failure, (asyncio.CancelledError, ConnectionError)):
            reachable = stream.begun and stream.connected
            return self._interruption(request) if reachable else None
        if isinstance(failure, GatewayError):
            return failure if stream.begun or stream.holds else None
        if not stream.begun:
            return None
        _log.error("bug", exc_info=failure)
        return InternalError()


def _shown_name(name: str, model: Model) -> str:
    """Return the name of a model that a client sent, as logs may show it."""
    return name if name in (model.id, model.display_name) else word(name)
