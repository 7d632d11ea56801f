"""Reads the bodies of requests, with limits on size, time and large bodies at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

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
from gateway.redaction import word

_LARGE_BODY = 1024 * 1024  # bytes


class RequestBodyReader:
    """Reads the bodies for all handlers, so that it can count the large ones."""

    def __init__(self, limits: ServerSettings) -> None:
        self._limits = limits
        self._large = asyncio.Semaphore(limits.large_bodies)

    async def read(self, request: web.Request) -> bytes:
        """Read the whole body of a request.

        The upstream is asked later: aiohttp notices that a client left only when nothing of
        its request is left to read. Raises InvalidRequest or one of its kinds, and
        Unavailable when too many large bodies are being read.
        """
        limits = self._limits
        _check_media_type(request)
        if (request.content_length or 0) > limits.max_body_bytes:
            raise self._too_large()
        if request.content.is_eof() and request.content.total_bytes <= limits.max_body_bytes:
            return await request.read()  # all of it has arrived
        async with self._permission(request):
            await send_continue(request)
            try:
                async with asyncio.timeout(limits.body_timeout):
                    return await self._collect(request)
            except TimeoutError:
                raise BodyTimeout("The body did not arrive in time.") from None
            except web.RequestPayloadError:
                raise InvalidRequest("The body's transfer encoding is broken.") from None

    async def _collect(self, request: web.Request) -> bytes:
        """Collect the body as `request.read` does, with less memory.

        `request.read` lets a connection hold two more copies of the body, even after the
        request was refused.
        """
        parts, size = [], 0
        while part := await request.content.readany():
            parts.append(part)
            size += len(part)
            if size > self._limits.max_body_bytes:
                raise self._too_large()
        body = b"".join(parts)
        set_body(request, body)  # for middlewares that call `request.read`
        return body

    @contextlib.asynccontextmanager
    async def _permission(self, request: web.Request) -> AsyncIterator[None]:
        """Wait until one more large body may be read; small bodies need not wait.

        A body of unknown size counts as large.
        """
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


async def send_continue(request: web.Request) -> None:
    """Send `100 Continue` if the client waits for it (RFC 9110, 10.1.1)."""
    if EXPECT in request:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the interim answer does not count as output
