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
    """What a server's maker of requests makes, with the header under `EXPECTATION` instead."""
    expectation = message.headers.get("Expect")
    if expectation is None:
        return make(message, *rest)
    headers = CIMultiDict(message.headers)
    del headers["Expect"]
    request = make(message._replace(headers=CIMultiDictProxy(headers)), *rest)
    request[EXPECTATION] = expectation
    return request


async def invite(request: web.Request) -> None:
    """Ask for the body, if the caller waits to be asked (RFC 9110, 10.1.1)."""
    if EXPECTATION in request:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # an interim answer is no part of the answer
