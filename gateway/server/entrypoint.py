"""The door: one set of connections, and behind it the application of the hour.

A reload puts another application behind the door. Connections stay; each request belongs to
the application that was there when it came, until it is done.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from collections.abc import Callable
from typing import Any

import structlog
from aiohttp import web, web_app

from gateway.config.settings import Config
from gateway.errors import GatewayError
from gateway.http.in_flight import InFlightRequests
from gateway.http.request_body import make_request_without_expect
from gateway.server.connection import Connection, ConnectionContext, HttpServer
from gateway.server.connection_limit import descriptor_limit
from gateway.server.listeners import BACKLOG, set_user_timeout

_log = structlog.get_logger("server")

_KEEP_ALIVE = 75.0  # seconds an idle connection may stay
_CLEANUP_TIMEOUT = 2.0  # seconds
_MAX_IDLE_WHILE_DRAINING = 5.0  # seconds that an idle connection stays at most while others are not
_DRAIN_POLL = 0.02  # seconds between looks at what still goes on


# Makes aiohttp's idea of a place where one listens.
SiteFactory = Callable[["Entrypoint", socket.socket], web.BaseSite]


def _default_site(entrypoint: Entrypoint, listening: socket.socket) -> web.BaseSite:
    return web.SockSite(entrypoint, listening, backlog=BACKLOG)


class RunningApp:
    """An application that has started, and how many requests it is working on."""

    def __init__(self, app: web.Application) -> None:
        self.app = app
        self._runner = web.AppRunner(app, access_log=None)
        self.requests = 0
        self.idle: asyncio.Event | None = None  # for who waits for the last of them

    async def start(self) -> None:
        """Start what the application needs."""
        try:
            await self._runner.setup()
        except BaseException:
            await self._runner.cleanup()
            raise
        server = self._runner.server
        assert server is not None
        self.make = server.request_factory
        self.answer = server.request_handler

    async def drain_and_close(self) -> None:
        """End what `start` started, once no request needs it any more."""
        # A request made for this application has its task, which is to run in the next turn.
        await asyncio.sleep(0.05)
        self.idle = asyncio.Event()
        if self.requests:
            await self.idle.wait()
        await self.end()

    async def end(self) -> None:
        """End what `start` started, now."""
        await self._runner.cleanup()


_RUNNING_APP = web.RequestKey("behind", RunningApp)


class Entrypoint(web.ServerRunner):
    """Connections with the settings that streams need, and the application behind them.

    To be created in the event loop; `cleanup` ends it with every application.
    """

    def __init__(
        self, in_flight: InFlightRequests, render_error: Callable[[GatewayError], bytes]
    ) -> None:
        self._context = ConnectionContext(render_error)
        server = HttpServer(
            self._handle,
            request_factory=self._make,
            # Without it a handler is not told that its caller left.
            handler_cancellation=True,
            keepalive_timeout=_KEEP_ALIVE,
            access_log=None,
            lingering_time=2.0,
            auto_decompress=False,
            context=self._context,
        )
        super().__init__(server, shutdown_timeout=0.1)
        self.in_flight = in_flight
        self._current: RunningApp | None = None
        self._sockets: list[socket.socket] = []
        self._last_request = 0.0  # when it was answered
        self._draining: dict[asyncio.Task[None], RunningApp] = {}

    @property
    def app(self) -> web.Application:
        """The application that takes new requests."""
        assert self._current is not None
        return self._current.app

    @property
    def leaving(self) -> int:
        """How many applications finish requests that came before a reload."""
        return len(self._draining)

    async def listen(self, sockets: list[socket.socket], site: SiteFactory | None = None) -> None:
        """Take connections from these sockets, which are the door's from now on.

        site: how they are taken.
        """
        self._sockets = sockets
        for listening in sockets:
            await (site or _default_site)(self, listening).start()

    def limit(self, config: Config) -> None:
        """What connections that come from now on may ask of us."""
        server, context = config.server, self._context
        context.head_timeout, context.send_buffer = server.header_timeout, server.send_buffer
        context.limit.limit(descriptor_limit(), server.max_connections)
        for listening in self._sockets:
            set_user_timeout(listening, config.stream.write_timeout)

    async def drain(self, seconds: float, grace: float) -> bool:
        """Wait for requests to end, and for their connections; whether all ended.

        A connection that is at no request may have one on its way, since its caller was not
        told of the end yet; with the answer it is. So each waits: for `grace` when all is
        quiet, for longer while others still send requests.
        """
        assert self.server is not None
        began = time.monotonic()
        patience = max(grace, min(seconds / 2, _MAX_IDLE_WHILE_DRAINING))
        connections: list[Connection] = []
        while (now := time.monotonic()) < began + seconds:
            connections = [c for c in self.server.connections if isinstance(c, Connection)]
            quiet = not self.in_flight.active and now - self._last_request >= grace
            idle_before = now - (grace if quiet else patience)
            if idle_before < began:
                idle_before = -1.0  # none has been silent for so long since we began to end
            gone = [connection.close_if_idle(idle_before) for connection in connections]
            if all(gone):
                break
            await asyncio.sleep(_DRAIN_POLL)
        return all(connection.idle_since is not None for connection in connections)

    async def start(self, app: web.Application) -> RunningApp:
        """Start an application that takes no requests yet; for `put` or its own `end`."""
        running_app = RunningApp(app)
        await running_app.start()
        return running_app

    def put(
        self, running_app: RunningApp, *, on_drained: Callable[[], None] = lambda: None
    ) -> None:
        """New requests are this application's from now on.

        The former one, if any, finishes its requests and is then ended. on_left: told when
        that is done.
        """
        former, self._current = self._current, running_app
        if former is None:
            return
        task = asyncio.create_task(former.drain_and_close())
        self._draining[task] = former
        task.add_done_callback(self._on_drained)
        task.add_done_callback(lambda _: on_drained())

    def _on_drained(self, task: asyncio.Task[None]) -> None:
        self._draining.pop(task, None)
        # aiohttp keeps the chains of steps of the last 1024 handlers, and by them their
        # applications. And an application is full of circles: its like would pile up, since
        # the collector rarely looks at what has lived for a while. Both cost milliseconds.
        web_app._cached_build_middleware.cache_clear()
        gc.collect()
        if not task.cancelled() and task.exception() is not None:
            _log.error("bug", exc_info=task.exception())

    async def cleanup(self) -> None:
        """Close the connections and end every application."""
        await super().cleanup()
        self._context.close()
        leaving = dict(self._draining)
        if leaving:
            await asyncio.wait(leaving, timeout=_CLEANUP_TIMEOUT)
            for task, running_app in leaving.items():
                if not task.done():
                    task.cancel()
                    await running_app.end()
        if self._current is not None:
            await self._current.end()

    def _make(self, message: Any, *rest: Any) -> web.BaseRequest:
        running_app = self._current
        assert running_app is not None
        if "Expect" in message.headers:
            request = make_request_without_expect(running_app.make, message, *rest)
        else:
            request = running_app.make(message, *rest)
        request[_RUNNING_APP] = running_app
        return request

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        # Here and nowhere deeper: each coroutine on the way costs at each turn of a stream.
        connection: Any = request.protocol
        running_app = request[_RUNNING_APP]
        connection.idle_since = None
        running_app.requests += 1
        try:
            return await running_app.answer(request)
        finally:
            connection.idle_since = self._last_request = time.monotonic()
            running_app.requests -= 1
            if running_app.idle is not None and not running_app.requests:
                running_app.idle.set()
