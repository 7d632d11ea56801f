"""A caller's `Expect: 100-continue`, kept from aiohttp, which would answer it for any URL and
before anybody looked at a key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

EXPECTATION = web.RequestKey("expectation", str)

_Make = Callable[..., web.BaseRequest]


def make_request(make: _Make, message: Any, *rest: Any) -> web.BaseRequest:
    """The request of a message that has the header; it is under `EXPECTATION` instead.

    make: the server's own maker of requests.
    """
    headers = CIMultiDict(message.headers)
    expectation = headers.pop("Expect")
    headers.popall("Expect", None)
    request = make(message._replace(headers=CIMultiDictProxy(headers)), *rest)
    request[EXPECTATION] = expectation
    return request


async def invite(request: web.Request) -> None:
    """Ask for the body, if the caller waits to be asked (RFC 9110, 10.1.1)."""
    if EXPECTATION in request:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # an interim answer is no part of the answer
