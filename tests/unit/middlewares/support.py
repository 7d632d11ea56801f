"""A small application with a chain of middlewares, and a client for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from gateway.apis.openai.dialect import OpenAIDialect
from gateway.http.chain import aiohttp_chain
from gateway.http.error_handler import ErrorHandler
from gateway.http.in_flight import InFlightRequests
from gateway.keys.directory import KeyDirectory
from gateway.middleware import (
    KEY_CHECKS,
    KEY_DIRECTORY,
    TRUSTED_PROXIES,
    WINDOWS,
    Handler,
    Middleware,
)
from gateway.store.rate_windows import RateWindows, SlidingWindows
from gateway.trusted_proxies import TrustedProxies


class App:
    """A running application; `handler` answers `/here`."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url = url
        self.http = http

    async def call(
        self, headers: dict[str, str] | None = None, *, method: str = "POST", path: str = "/here"
    ) -> MiddlewareReply:
        async with self.http.request(method, self.url + path, headers=headers) as response:
            return MiddlewareReply(response.status, response.headers, await response.text())


class MiddlewareReply:
    """A whole answer."""

    def __init__(self, status: int, headers: Any, text: str) -> None:
        self.status = status
        self.headers = headers
        self.text = text


async def ok(_: web.Request) -> web.StreamResponse:
    return web.Response(text="ok")


@asynccontextmanager
async def running(
    *chain: Middleware,
    handler: Handler = ok,
    windows: RateWindows | None = None,
    routes: Mapping[str, Handler] | None = None,
    admission: Middleware = lambda request, handler: handler(request),
    keys: KeyDirectory | None = None,
) -> AsyncIterator[App]:
    """Run the chain inside the error handler, as in the gateway.

    routes: handlers by path. Without them, `handler` answers `/here`.
    admission: what runs after the chain. keys: those that are made at run time.
    """
    error_handler = ErrorHandler(lambda _: OpenAIDialect(), InFlightRequests(), frozenset())
    app = web.Application(middlewares=aiohttp_chain(error_handler, chain, admission))
    app[WINDOWS] = windows or SlidingWindows()
    app[KEY_DIRECTORY] = keys or KeyDirectory()
    app[TRUSTED_PROXIES] = TrustedProxies([])
    app[KEY_CHECKS] = [one.is_key for one in chain if hasattr(one, "is_key")]
    app.on_response_prepare.append(error_handler.on_response_prepare)
    for path, answer in (routes or {"/here": handler}).items():
        app.router.add_post(path, answer)
        app.router.add_get(path, answer)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        async with aiohttp.ClientSession() as http:
            yield App(f"http://{host}:{port}", http)
    finally:
        await runner.cleanup()
