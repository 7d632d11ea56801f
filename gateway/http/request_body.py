"""Reads the bodies of requests, with limits on size, time and large bodies at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.aiohttp_internals import set_body, with_headers
from gateway.config.settings import ServerSettings
from gateway.errors import (
    BodyTimeout,
    BodyTooLarge,
    InvalidRequest,
    UnsupportedMediaType,
    overloaded,
)
from gateway.http.body_places import BodyPlaces
from gateway.middleware import caller_of
from gateway.redaction import word

# A body up to this size is never counted. Others have this much in memory before they get a place.
_SMALL_BODY = 256 * 1024  # bytes

# The slowest upload that may hold a place: so much in so many seconds.
_STEP = 256 * 1024  # bytes
_STEP_TIMEOUT = 8.0

_Parsed = TypeVar("_Parsed")


class RequestBodyReader:
    """Reads the bodies for all handlers, so that it can count the large ones."""

    def __init__(self, limits: ServerSettings) -> None:
        self._limits = limits
        self._places = BodyPlaces(limits.large_bodies)

    async def parse(self, request: web.Request, parse: Callable[[bytes], _Parsed]) -> _Parsed:
        """Read the whole body of a request and return what `parse` makes of it.

        A large body needs a place from its first 256 KB until it has been parsed. The upstream
        is asked later: aiohttp notices that a client left only when nothing of its request is
        left to read. Raises InvalidRequest or one of its kinds, and Unavailable when too many
        large bodies are being read.
        """
        limits = self._limits
        _check_media_type(request)
        if (request.content_length or 0) > limits.max_body_bytes:
            raise self._too_large()
        if request.content.is_eof() and request.content.total_bytes <= limits.max_body_bytes:
            return parse(await request.read())  # all of it has arrived
        await send_continue(request)
        async with AsyncExitStack() as place:
            try:
                return parse(await self._receive(request, place))
            except TimeoutError:
                raise BodyTimeout("The body did not arrive in time.") from None
            except web.RequestPayloadError:
                raise InvalidRequest("The body's transfer encoding is broken.") from None

    async def _receive(self, request: web.Request, place: AsyncExitStack) -> bytes:
        """Receive the body; a large one enters its place into `place`.

        `request.read` would let a connection hold two more copies of the body, even after the
        request was refused.
        """
        limits, now = self._limits, asyncio.get_running_loop().time
        parts: list[bytes] = []
        size, next_step = 0, _SMALL_BODY
        async with asyncio.timeout(limits.body_timeout) as timeout:
            while part := await request.content.readany():
                parts.append(part)
                size += len(part)
                if size > limits.max_body_bytes:
                    raise self._too_large()
                if size > next_step:
                    if next_step == _SMALL_BODY:
                        timeout.reschedule(None)
                        await self._take_place(request, place)
                        end = now() + limits.body_timeout
                    next_step = size + _STEP
                    timeout.reschedule(min(end, now() + _STEP_TIMEOUT))
        body = b"".join(parts)
        if size <= _SMALL_BODY:
            set_body(request, body)  # for middlewares that call `request.read`
        return body

    async def _take_place(self, request: web.Request, place: AsyncExitStack) -> None:
        try:
            async with asyncio.timeout(self._limits.body_timeout):
                await place.enter_async_context(self._places.place(caller_of(request)))
        except TimeoutError:
            raise overloaded() from None

    def _too_large(self) -> BodyTooLarge:
        most = self._limits.max_body_bytes
        return BodyTooLarge(f"The body is over the limit of {most} bytes (server.max_body_bytes).")


def _check_media_type(request: web.Request) -> None:
    kind = request.headers.get("Content-Type", "")
    if kind != "application/json":  # nearly all clients send exactly this
        _check_kind(kind)
    coding = request.headers.get("Content-Encoding")
    if coding is not None and coding.lower() != "identity":
        raise UnsupportedMediaType("The body must not be compressed.")


def _check_kind(kind: str) -> None:
    essence, _, parameters = kind.partition(";")
    essence = essence.strip().lower()
    if essence and essence != "application/json" and not essence.endswith("+json"):
        raise UnsupportedMediaType(
            f"The body must be JSON: send 'Content-Type: application/json', not '{word(essence)}'."
        )
    charset = parameters.lower().partition("charset=")[2].strip(" \"'")
    if charset and charset not in ("utf-8", "utf8"):
        raise UnsupportedMediaType("The body must be in UTF-8.")


EXPECT = web.RequestKey("expectation", str)
OTHER_CODING = web.RequestKey("other_coding", str)

_RequestFactory = Callable[..., web.BaseRequest]


def make_request_without_expect(make: _RequestFactory, message: Any, *rest: Any) -> web.BaseRequest:
    """Build a request from a message with an Expect header, which moves to the key `EXPECT`.

    Without this, aiohttp would answer the header before any middleware runs.
    make: the server's own factory of requests.
    """
    headers = CIMultiDict(message.headers)
    expectation = headers.pop("Expect")
    headers.popall("Expect", None)
    request = make(with_headers(message, CIMultiDictProxy(headers)), *rest)
    request[EXPECT] = expectation
    return request


def other_coding(message: Any) -> str | None:
    """Return the Transfer-Encoding of a chunked message if it is more than `chunked`.

    aiohttp would pass on the compressed body as if it were plain (RFC 9112, 6.1).
    """
    coding: str = message.headers.get("Transfer-Encoding", "")
    return None if coding.strip().lower() == "chunked" else coding


async def send_continue(request: web.Request) -> None:
    """Send `100 Continue` if the client waits for it (RFC 9110, 10.1.1)."""
    if EXPECT in request:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the interim answer does not count as output
