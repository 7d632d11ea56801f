"""Defines the response of a chat, whose body is read while it arrives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import aiohttp

from gateway.errors import GatewayError

MAX_READ = 8 * 1024
"""The most bytes that are received, or read, at once.

It bounds the work in one iteration of the event loop, and the memory that a client takes that
does not read. asyncio would receive up to 256 KB at once.
"""


class ResponseBody(Protocol):
    """Provides a response whose headers have arrived; see `ChatConnection` for each member."""

    take: Callable[[bytes], None] | None

    @property
    def status(self) -> int: ...

    @property
    def framed(self) -> bool: ...

    def header(self, name: str) -> str: ...

    def at_end(self) -> bool: ...

    async def read(self) -> bytes: ...

    def fail(self, error: GatewayError) -> None: ...

    def wake(self) -> None: ...

    def close(self) -> None: ...


class AiohttpResponseBody:
    """Reads an aiohttp.ClientResponse, which works through a proxy too. It ignores `take`."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.take: Callable[[bytes], None] | None = None

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def framed(self) -> bool:
        """Return whether a normal end of the body proves that it is complete.

        aiohttp raises ClientPayloadError when a body that is chunked or has a length ends
        early. But it does not check that compressed data in the body are complete.
        """
        headers = self._response.headers
        if headers.get("Content-Encoding", "identity").lower() != "identity":
            return False
        coding = headers.get("Transfer-Encoding", "")
        return "Content-Length" in headers or "chunked" in coding.lower()

    def header(self, name: str) -> str:
        return self._response.headers.get(name, "")

    def at_end(self) -> bool:
        return self._response.content.at_eof()

    async def read(self) -> bytes:
        return await self._response.content.read(MAX_READ)

    def wake(self) -> None:
        """Do nothing: only `take` needs it."""

    def fail(self, error: GatewayError) -> None:
        self._response.content.set_exception(error)

    def close(self) -> None:
        self._response.close()
