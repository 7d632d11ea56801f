"""Implements the entrypoint: the listening sockets and the application behind them.

A reload switches the entrypoint to another application. Connections stay open. Each request is
handled by the application that was current when the request arrived.

A process may have several entrypoints. Each has sockets, applications and limits of its own.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from collections.abc import Callable
from typing import Any

import structlog
from aiohttp import web

from gateway.aiohttp_internals import forget_middleware_chains
from gateway.errors import GatewayError
from gateway.http.error_response import ErrorResponse
from gateway.http.in_flight import InFlightRequests
from gateway.http.request_body import OTHER_CODING, make_request_without_expect, other_coding
from gateway.http.routing import set_path_key, with_single_slashes, without_path_key
from gateway.server.connection import Connection, ConnectionContext, HttpServer
from gateway.server.connection_limit import descriptor_limit, raise_descriptor_limit
from gateway.server.listeners import (
    BACKLOG,
    ListenerLimits,
    close_listeners,
    set_user_timeout,
)

_log = structlog.get_logger("server")

_KEEP_ALIVE = 75.0  # seconds that an idle connection may stay open
_CLEANUP_TIMEOUT = 2.0  # seconds that `cleanup` waits for draining applications
_MAX_IDLE_WHILE_DRAINING = 5.0  # seconds that a drain keeps an idle connection while others work
_DRAIN_POLL = 0.02  # seconds between two checks of a drain


# Creates the site by which aiohttp accepts connections from a listening socket.
SiteFactory = Callable[["Entrypoint", socket.socket], web.BaseSite]


def _default_site(entrypoint: Entrypoint, listening: socket.socket) -> web.BaseSite:
    return web.SockSite(entrypoint, listening, backlog=BACKLOG)


class RunningApp:
    """Holds a started application and counts its open requests."""

    def __init__(self, app: web.Application) -> None:
        self.app = app
        self._runner = web.AppRunner(app, access_log=None)
        self.requests = 0
        self.drained: asyncio.Event | None = None  # set after the last request, while draining

    async def start(self) -> None:
        """Start the application and what it needs (its cleanup contexts)."""
        try:
            await self._runner.setup()
        except BaseException:
            await self._runner.cleanup()
            raise
        server = self._runner.server
        assert server is not None
        self.make_request = server.request_factory
        self.handle = server.request_handler

    async def drain_and_close(self) -> None:
        """Wait until the last request has ended, then close the application."""
        # A request may have been created for this application, but its task has not run yet.
        await asyncio.sleep(0.05)
        self.drained = asyncio.Event()
        if self.requests:
            await self.drained.wait()
        await self.close()

    async def close(self) -> None:
        """Close the application and what it has started, now."""
        await self._runner.cleanup()


_RUNNING_APP = web.RequestKey("running_app", RunningApp)


class Entrypoint(web.ServerRunner):
    """Accepts connections and passes their requests to the current application.

    Must be created in the event loop. `cleanup` closes it with all its applications.

    in_flight: the open requests, also those of former applications.
    render: returns the answer to an error of a request that has no route yet.
    """

    def __init__(
        self, in_flight: InFlightRequests, render: Callable[[GatewayError], ErrorResponse]
    ) -> None:
        self._context = ConnectionContext(render)
        server = HttpServer(
            self._handle,
            request_factory=self._make_request,
            # Without it, a handler is not cancelled when its client disconnects.
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
        self._last_request = 0.0  # monotonic time when the last request ended
        self._draining: dict[asyncio.Task[None], RunningApp] = {}

    @property
    def app(self) -> web.Application:
        """Return the current application, which gets new requests."""
        assert self._current is not None
        return self._current.app

    @property
    def draining_apps(self) -> int:
        """Return how many former applications still finish requests from before a reload."""
        return len(self._draining)

    async def listen(self, sockets: list[socket.socket], site: SiteFactory | None = None) -> None:
        """Accept connections from these sockets. The entrypoint owns the sockets from now on.

        site: creates the site of each socket; aiohttp's own site by default.
        """
        self._sockets = sockets
        for listening in sockets:
            await (site or _default_site)(self, listening).start()

    def apply_limits(self, limits: ListenerLimits) -> None:
        """Apply time limits, buffer sizes and the connection limit to later connections."""
        context = self._context
        context.head_timeout, context.send_buffer = limits.head_timeout, limits.send_buffer
        context.limit.limit(descriptor_limit(), limits.max_connections)
        for listening in self._sockets:
            set_user_timeout(listening, limits.write_timeout)

    async def drain(self, seconds: float, grace: float) -> bool:
        """Wait until all requests have ended and close their connections.

        A client does not know of the drain before it gets its next answer, which closes the
        connection. So the next request of an idle connection may already be on its way. An
        idle connection is therefore kept for `grace`, or longer while other requests are open
        or ended less than `grace` ago.

        seconds: the longest time to wait.
        grace: seconds that an idle connection is kept when no request is open.
        Returns whether all requests have ended.
        """
        assert self.server is not None
        began = time.monotonic()
        idle_limit = max(grace, min(seconds / 2, _MAX_IDLE_WHILE_DRAINING))
        connections: list[Connection] = []
        while (now := time.monotonic()) < began + seconds:
            connections = [c for c in self.server.connections if isinstance(c, Connection)]
            quiet = not self.in_flight.active and now - self._last_request >= grace
            idle_before = now - (grace if quiet else idle_limit)
            if idle_before < began:
                idle_before = -1.0  # the drain is too young: close no connection yet
            closed = [connection.close_if_idle(idle_before) for connection in connections]
            if all(closed):
                break
            await asyncio.sleep(_DRAIN_POLL)
        return all(connection.idle_since is not None for connection in connections)

    async def start_app(self, app: web.Application) -> RunningApp:
        """Start an application that gets no requests yet.

        `switch_to` or the application's own `close` must follow.
        """
        running_app = RunningApp(app)
        await running_app.start()
        return running_app

    def switch_to(
        self, running_app: RunningApp, *, on_drained: Callable[[], None] = lambda: None
    ) -> None:
        """Pass new requests to this application.

        The former application, if any, finishes its requests and is then closed.

        on_drained: called when the former application is closed.
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
        # An application has many reference cycles, and the garbage collector rarely examines old
        # objects. So former applications would accumulate. Both calls take a few milliseconds.
        forget_middleware_chains()
        gc.collect()
        if not task.cancelled() and task.exception() is not None:
            _log.error("bug", exc_info=task.exception())

    async def cleanup(self) -> None:
        """Close the connections and every application."""
        await super().cleanup()
        self._context.close()
        draining = dict(self._draining)
        if draining:
            await asyncio.wait(draining, timeout=_CLEANUP_TIMEOUT)
            for task, running_app in draining.items():
                if not task.done():
                    task.cancel()
                    await running_app.close()
        if self._current is not None:
            await self._current.close()

    def _make_request(self, message: Any, *rest: Any) -> web.BaseRequest:
        running_app = self._current
        assert running_app is not None
        if "//" in message.path:
            message = with_single_slashes(message)
        path_key = None
        if "/k/" in message.path or "%" in message.path:
            message, path_key = without_path_key(message)
        if "Expect" in message.headers:
            request = make_request_without_expect(running_app.make_request, message, *rest)
        else:
            request = running_app.make_request(message, *rest)
        request[_RUNNING_APP] = running_app
        if path_key is not None:
            set_path_key(request, path_key)
        if message.chunked and (coding := other_coding(message)):
            request[OTHER_CODING] = coding
        return request

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        # All bookkeeping is in this one coroutine: each coroutine around a stream costs time
        # whenever the stream resumes.
        connection: Any = request.protocol
        running_app = request[_RUNNING_APP]
        connection.idle_since = None
        running_app.requests += 1
        try:
            return await running_app.handle(request)
        finally:
            connection.idle_since = self._last_request = time.monotonic()
            running_app.requests -= 1
            if running_app.drained is not None and not running_app.requests:
                running_app.drained.set()


async def open_entrypoint(
    app: web.Application,
    sockets: list[socket.socket],
    *,
    render: Callable[[GatewayError], ErrorResponse],
    limits: ListenerLimits,
    in_flight: InFlightRequests | None = None,
) -> Entrypoint:
    """Start an application, and serve it on these sockets; `stop_entrypoint` must follow.

    The application may be any; a process may have several entrypoints. If anything fails, the
    application and the sockets are closed.

    render: returns the answer to an error of a request that has no route yet.
    in_flight: the requests that the application itself tracks, if it does.
    """
    entrypoint = Entrypoint(in_flight or InFlightRequests(), render)
    try:
        try:
            await entrypoint.setup()
            entrypoint.switch_to(await entrypoint.start_app(app))
        except BaseException:
            await entrypoint.cleanup()
            raise
        await accept_connections(entrypoint, sockets, limits)
    except BaseException:
        close_listeners(sockets)
        raise
    return entrypoint


async def accept_connections(
    entrypoint: Entrypoint,
    sockets: list[socket.socket],
    limits: ListenerLimits,
    site: SiteFactory | None = None,
) -> None:
    """Listen on these sockets, which the entrypoint owns from now on.

    If that fails, the entrypoint is closed.

    site: creates the site of each socket; see `Entrypoint.listen`.
    """
    try:
        await entrypoint.listen(sockets, site)
        raise_descriptor_limit()
        entrypoint.apply_limits(limits)
    except BaseException:
        await entrypoint.cleanup()
        raise
