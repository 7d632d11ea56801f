"""A caller's `Expect: 100-continue`, kept from aiohttp, which would answer it for any URL and
before anybody looked at a key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

EXPECTATION = web.RequestKey("expectation", str)


def kept(make_request: Callable[..., Any]) -> Callable[..., Any]:
    """A server's maker of requests, whose requests have the header under `EXPECTATION` instead."""

    def make(message: Any, *rest: Any) -> Any:
        expectation = message.headers.get("Expect")
        if expectation is None:
            return make_request(message, *rest)
        headers = CIMultiDict(message.headers)
        del headers["Expect"]
        request = make_request(message._replace(headers=CIMultiDictProxy(headers)), *rest)
        request[EXPECTATION] = expectation
        return request

    return make


def waits(request: web.Request) -> bool:
    """Whether the caller waits to be asked for its body."""
    return EXPECTATION in request
