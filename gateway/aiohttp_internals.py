"""Gives plain names to what aiohttp keeps private and the gateway needs.

No other module uses a private name of aiohttp, or a module that aiohttp does not document. Such
names may change in any release. If one is gone, the import of this module fails with a sentence.
tests/unit/test_aiohttp_internals.py checks that each does what is needed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import aiohttp
from aiohttp import connector, http_exceptions, http_parser, web, web_app
from yarl import URL


class Internal(NamedTuple):
    """Names one thing of aiohttp that is private or not documented.

    owner: the class or the module that has it. purpose: what the gateway uses it for.
    """

    owner: Any
    name: str
    purpose: str

    def __str__(self) -> str:
        return f"{self.owner.__name__}.{self.name}"

    def sentence(self, fault: str) -> str:
        """Return what is wrong with it, for the person who updates aiohttp.

        fault: such as "no longer has".
        """
        user = "gateway/aiohttp_internals.py"
        return f"aiohttp {aiohttp.__version__} {fault} {self}: {user} uses it to {self.purpose}."


INTERNALS = (
    Internal(web.RequestHandler, "_waiter", "see whether a connection waits for a request"),
    Internal(web.RequestHandler, "_request_count", "see whether the head of a request is complete"),
    Internal(web.RequestHandler, "_request_in_progress", "see whether an answer is being sent"),
    Internal(web.RequestHandler, "_messages", "count the requests that a client sent ahead"),
    Internal(web.RequestHandler, "_reading_paused", "see whether a body waits to be read"),
    Internal(web.RequestHandler, "_buffer_paused", "see whether requests wait to be handled"),
    Internal(
        web.RequestHandler,
        "_pause_reading_for_buffer",
        "notice that reading stops because too many requests were sent ahead",
    ),
    Internal(web.BaseSite, "_server", "accept connections with a server of the gateway's own"),
    Internal(web.BaseRequest, "_read_bytes", "give middlewares a body that was read elsewhere"),
    Internal(
        web.StreamResponse,
        "_send_headers_immediately",
        "send headers in one write with the first frames",
    ),
    Internal(web_app, "_cached_build_middleware", "free applications that a reload replaced"),
    Internal(http_parser, "RawRequestMessage", "build a request with other headers or another URL"),
    Internal(http_exceptions, "HttpProcessingError", "recognise HTTP that is not well-formed"),
    Internal(connector, "Connection", "describe a connection that a connector lends"),
)


def missing() -> list[str]:
    """Return a sentence for each name that the installed aiohttp no longer has."""
    gone = [internal for internal in INTERNALS if not hasattr(internal.owner, internal.name)]
    return [internal.sentence("no longer has") for internal in gone]


if _missing := missing():
    # Not later: a request would fail, or a limit would silently do nothing.
    raise ImportError(" ".join(_missing))


BrokenHttp = http_exceptions.HttpProcessingError
"""The base of all errors of aiohttp's parser about what a client sent."""

PooledConnection = connector.Connection
"""What `connect` of a connector returns."""


def _slot(name: str) -> Any:
    """Return a slot, to be given a second name: unlike a property it costs no call when read."""
    return getattr(web.RequestHandler, name)


class ServerConnection(web.RequestHandler):
    """Gives plain names to the state of a server's connection.

    request_waiter: done when a request arrives; None while one is handled, and before `start`.
    request_count: how many heads have been parsed, broken ones included.
    sends_answer: whether a request is handled or its answer is being sent.
    requests_ahead: the requests that have arrived and are not handled yet.
    """

    __slots__ = ()

    request_waiter: asyncio.Future[None] | None = _slot("_waiter")
    request_count: int = _slot("_request_count")
    sends_answer: bool = _slot("_request_in_progress")
    requests_ahead: deque[Any] = _slot("_messages")

    @property
    def reading_paused(self) -> bool:
        """Return whether received bytes wait in the kernel, since aiohttp stopped reading."""
        return self._reading_paused or self._buffer_paused

    def on_reading_paused(self) -> None:
        """Do nothing; called whenever aiohttp has stopped reading."""

    def pause_reading(self) -> None:
        super().pause_reading()
        self.on_reading_paused()

    def _pause_reading_for_buffer(self) -> None:
        super()._pause_reading_for_buffer()
        self.on_reading_paused()


class SiteOfAcceptor(web.BaseSite):
    """Accepts connections with an object of ours in place of an asyncio server.

    The object needs `sockets` and `close`.
    """

    def use_acceptor(self, acceptor: Any) -> None:
        """Close this object when the site stops, and show its sockets in `addresses`."""
        self._server = acceptor


class HeadersWithFirstWrite(web.StreamResponse):
    """Sends the headers of a streamed answer in one write with the first part of its body."""

    _send_headers_immediately = False


def set_body(request: web.BaseRequest, body: bytes) -> None:
    """Make `request.read` return this body, which was read from `request.content`."""
    request._read_bytes = body


def with_headers(message: Any, headers: Mapping[str, str]) -> Any:
    """Return the message of a request, as a factory of requests gets it, with other headers."""
    return message._replace(headers=headers)


def with_url(message: Any, url: URL) -> Any:
    """Return the message of a request, as a factory of requests gets it, with another URL."""
    return message._replace(url=url, path=str(url))


def forget_middleware_chains() -> None:
    """Remove the middleware chains that aiohttp caches.

    It keeps those of the last 1024 handlers, and so their applications, in memory.
    """
    web_app._cached_build_middleware.cache_clear()
