"""Handles the requests of all endpoints: parse, ask the upstream, answer whole or as a stream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

import structlog
from aiohttp import web

from gateway.apis.base import Endpoint, ResponseEncoder
from gateway.config.settings import StreamSettings
from gateway.errors import GatewayError, InternalError
from gateway.generation.outcome import Generation
from gateway.generation.pieces import Piece, Silence
from gateway.generation.upstream import Upstream
from gateway.http.in_flight import InFlightRequests, draining_error
from gateway.http.request_body import RequestBodyReader
from gateway.http.sse import EventStream
from gateway.images.fetch import ImageFetcher
from gateway.middleware import GENERATION, KEY_NAME, RESPONSE_HEADERS

_log = structlog.get_logger("handler")

CLIENT_GONE = "client_closed_request"


class GenerationHandler:
    """Answers the requests of one endpoint from the upstream."""

    def __init__(
        self,
        endpoint: Endpoint,
        upstream: Upstream,
        images: ImageFetcher,
        in_flight: InFlightRequests,
        bodies: RequestBodyReader,
        stream: StreamSettings,
    ) -> None:
        self._endpoint = endpoint
        self._images = images
        self._in_flight = in_flight
        self._upstream = upstream
        self._bodies = bodies
        self._stream = stream

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request. Raises GatewayError when it fails before anything was sent."""
        parsed = self._endpoint.parse(await self._bodies.read(request))
        # Completions have one model; editors name the model whose notation they write.
        model = self._upstream.resolve(None if parsed.fills else parsed.model)
        if [message for message in parsed.messages if message.images]:
            parsed = replace(parsed, messages=await self._images.fetched(parsed.messages))
        generation = Generation(parsed, model, caller=request.get(KEY_NAME))
        request[GENERATION] = generation
        if parsed.ignored:
            request[RESPONSE_HEADERS]["x-fitten-ignored-params"] = ", ".join(parsed.ignored)
        encoder = self._endpoint.encoder(generation)
        try:
            if parsed.stream:
                return await self._answer_stream(request, generation, encoder)
            response = await self._answer_whole(generation, encoder)
            if generation.format_missed:
                request[RESPONSE_HEADERS]["x-fitten-response-format"] = "mismatch"
            return response
        except GatewayError as error:
            generation.end = error.code or "error"
            raise
        except (asyncio.CancelledError, ConnectionError):
            if self._in_flight.interrupted:
                generation.end = "draining"
                raise draining_error() from None
            generation.end = CLIENT_GONE
            raise

    async def _answer_whole(
        self, generation: Generation, encoder: ResponseEncoder
    ) -> web.StreamResponse:
        pieces: list[Piece] = []
        async with self._upstream.generate(generation) as batches:
            async for batch in batches:
                if generation.first_piece is None:
                    generation.first_piece = time.monotonic()
                pieces.extend(batch)
        generation.end = "complete"
        body = encoder.whole(pieces)
        generation.bytes_sent = len(body)
        return web.Response(body=body, content_type="application/json")

    async def _answer_stream(
        self, request: web.Request, generation: Generation, encoder: ResponseEncoder
    ) -> web.StreamResponse:
        """Send nothing until the first piece, or `stream.grace`: an error has its status then."""
        settings = self._stream
        stream = EventStream(
            request, generation, begin=encoder.begin(), write_timeout=settings.write_timeout
        )
        silence = Silence(settings.grace, settings.keep_alive, stream.keep_alive)

        def direct(batch: Sequence[Piece]) -> bool:
            return stream.ready and stream.write_now(encoder.pieces(batch))

        last = b""  # frames of the last batch, sent in one write with the end or the error
        try:
            async with self._upstream.generate(generation, silence) as batches:
                async for batch in batches:
                    if generation.first_piece is None:
                        generation.first_piece = time.monotonic()
                    if batches.ended:
                        last = encoder.pieces(batch)
                    else:
                        await stream.write(encoder.pieces(batch))
                        batches.direct = direct
            # The upstream is closed by now, also when the answer was cut.
            generation.end = "complete"
            return await stream.end(last + encoder.end())
        except (asyncio.CancelledError, ConnectionError):
            if not (self._in_flight.interrupted and stream.begun and stream.connected):
                raise
            error: GatewayError = draining_error()
        except GatewayError as failure:
            if not (stream.begun or last):
                raise
            error = failure
        except Exception:
            if not stream.begun:
                raise
            _log.exception("bug")
            error = InternalError()
        # The answer has begun, so the error is a frame. No `[DONE]` follows it.
        generation.end = error.code or "error"
        return await stream.end(last + encoder.error(error))
