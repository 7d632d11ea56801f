"""Requests' bodies: bounded in size, in time, and in how many large ones come in at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.config.settings import ServerSettings
from gateway.errors import (
    BodyTimeout,
    BodyTooLarge,
    InvalidRequest,
    UnsupportedMediaType,
    overloaded,
    word,
)

_LARGE_BODY = 1024 * 1024  # bytes


class RequestBodyReader:
    """Reads bodies for all handlers, so that it knows how many are being read."""

    def __init__(self, limits: ServerSettings) -> None:
        self._limits = limits
        self._large = asyncio.Semaphore(limits.large_bodies)

    async def read(self, request: web.Request) -> bytes:
        """The whole body.

        Whole before the upstream is asked, because a caller that leaves is noticed only once
        nothing of its request is left to read. Raises InvalidRequest or one of its kinds, and
        Unavailable when too many large ones are being read.
        """
        limits = self._limits
        _check_media_type(request)
        if (request.content_length or 0) > limits.max_body_bytes:
            raise self._too_large()
        if request.content.is_eof() and request.content.total_bytes <= limits.max_body_bytes:
            return await request.read()  # it is all there
        async with self._place(request):
            await send_continue(request)
            try:
                async with asyncio.timeout(limits.body_timeout):
                    return await self._collect(request)
            except TimeoutError:
                raise BodyTimeout("The body did not arrive in time.") from None
            except web.RequestPayloadError:
                raise InvalidRequest("The body's transfer encoding is broken.") from None

    async def _collect(self, request: web.Request) -> bytes:
        """As `request.read` does, which would let the connection hold two bodies more, also
        of callers that have been refused by then."""
        parts, size = [], 0
        while part := await request.content.readany():
            parts.append(part)
            size += len(part)
            if size > self._limits.max_body_bytes:
                raise self._too_large()
        request._read_bytes = b"".join(parts)  # for steps that look at it, too
        return request._read_bytes

    @contextlib.asynccontextmanager
    async def _place(self, request: web.Request) -> AsyncIterator[None]:
        """One of the places for large bodies, if it may be one."""
        if request.content_length is not None and request.content_length <= _LARGE_BODY:
            yield
            return
        try:
            async with asyncio.timeout(self._limits.body_timeout):
                await self._large.acquire()
        except TimeoutError:
            raise overloaded() from None
        try:
            yield
        finally:
            self._large.release()

    def _too_large(self) -> BodyTooLarge:
        most = self._limits.max_body_bytes
        return BodyTooLarge(f"The body is over the limit of {most} bytes (server.max_body_bytes).")


def _check_media_type(request: web.Request) -> None:
    kind = request.headers.get("Content-Type", "")
    if kind != "application/json":  # what nearly all send
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


_Make = Callable[..., web.BaseRequest]


def make_request_without_expect(make: _Make, message: Any, *rest: Any) -> web.BaseRequest:
    """The request of a message that has the header; it is under `EXPECT` instead.

    make: the server's own maker of requests.
    """
    headers = CIMultiDict(message.headers)
    expectation = headers.pop("Expect")
    headers.popall("Expect", None)
    request = make(message._replace(headers=CIMultiDictProxy(headers)), *rest)
    request[EXPECT] = expectation
    return request


async def send_continue(request: web.Request) -> None:
    """Ask for the body, if the caller waits to be asked (RFC 9110, 10.1.1)."""
    if EXPECT in request:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # an interim answer is no part of the answer
