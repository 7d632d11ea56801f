"""The process's life: listen, serve, drain on a signal, exit."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from gateway.admission import Admission, descriptors, raise_descriptors
from gateway.apis import openai
from gateway.app import LIFECYCLE, build_app
from gateway.config import Config, Server
from gateway.errors import GatewayError, InternalError, InvalidRequest
from gateway.expectation import kept
from gateway.patience import Bounds, PatientConnection

_log = structlog.get_logger("server")

_BACKLOG = 1024
_KEEP_ALIVE = 75.0  # seconds an idle connection may stay


class Connection(PatientConnection):
    """aiohttp's connection, whose answer to broken HTTP is ours: JSON, no echo, no traceback."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun")
        error: GatewayError
        if isinstance(exc, HttpProcessingError) or 400 <= status < 500:
            # Neither its text nor its traceback: they quote the caller's headers.
            _log.info("http_broken", reason=type(exc).__name__, status=status)
            error = InvalidRequest("The request is not well-formed HTTP/1.1.")
            error.status = status
        else:
            _log.error("bug", exc_info=exc)
            error = InternalError()
        response = web.Response(
            status=error.status, body=openai.error_body(error), content_type="application/json"
        )
        response.force_close()
        return response


class _Server(web.Server):
    """aiohttp's maker of connections; unlike it, ours never drops settings it does not know."""

    bounds: Bounds

    def __call__(self) -> RequestHandler:
        return Connection(self, bounds=self.bounds, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """An application on `Connection`s, with the settings that streams need."""

    def __init__(self, app: web.Application, settings: Server) -> None:
        admission = Admission(descriptors(), settings.max_connections)
        self._bounds = Bounds(settings.header_timeout, admission)
        super().__init__(
            app,
            # Without it a handler is not told that its caller left.
            handler_cancellation=True,
            keepalive_timeout=_KEEP_ALIVE,
            access_log=None,
            shutdown_timeout=0.1,
            lingering_time=2.0,
            auto_decompress=False,
        )

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        server.__class__ = _Server
        assert isinstance(server, _Server)
        server.bounds = self._bounds
        server.request_factory = kept(server.request_factory)
        return server


async def start(config: Config, *, on_secret: Callable[[str], None] = lambda _: None) -> Runner:
    """A gateway that serves; `runner.addresses` says where. Raises OSError.

    To be ended by `stop`.
    """
    # Before anything else: an address that is taken should cost no login.
    sockets = _listen(config.server.host, config.server.port)
    for listening in sockets:
        _drop_vanished(listening, config.stream.write_timeout)
        # Inherited too. Else the kernel takes megabytes for a caller that does not read.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, config.server.send_buffer)
    runner = Runner(build_app(config, on_secret=on_secret), config.server)
    try:
        await runner.setup()
        for listening in sockets:
            await web.SockSite(runner, listening, backlog=_BACKLOG).start()
    except BaseException:
        for listening in sockets:
            listening.close()
        await runner.cleanup()
        raise
    return runner


def _drop_vanished(listening: socket.socket, seconds: float) -> None:
    """Have the kernel close connections whose peer acknowledges nothing for so long.

    Accepted connections inherit it. Other systems than Linux keep their defaults.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))


def _listen(host: str, port: int) -> list[socket.socket]:
    """Bound sockets for every address of a host, on one port. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, where in dict.fromkeys(found):
            name = where[0], port, *where[2:]
            sockets.append(socket.create_server(name, family=family, backlog=_BACKLOG))
            port = sockets[0].getsockname()[1]
    except OSError:
        for listening in sockets:
            listening.close()
        raise
    return sockets


async def stop(runner: Runner, drain_timeout: float) -> None:
    """Take no new requests, let those under way finish for a while, then end them."""
    lifecycle = runner.app[LIFECYCLE]
    for site in list(runner.sites):
        await site.stop()
    _log.info("draining", active=lifecycle.active, timeout=drain_timeout)
    if not await lifecycle.drain(drain_timeout):
        _log.warning("drain_timeout", active=lifecycle.active)
        await lifecycle.interrupt()
    await runner.cleanup()


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end on the fastest event loop there is."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ImportError):  # there is none for Windows
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main)


async def serve(
    config: Config,
    *,
    on_secret: Callable[[str], None] = lambda _: None,
    on_ready: Callable[[str], None] = lambda _: None,
    before_exit: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT; a second signal ends the process at once.

    on_ready: told the URL once requests are taken. before_exit: called before the process is
    ended at once, which skips every `finally`. Raises OSError when the address cannot
    be listened on.
    """
    asked_to_stop = asyncio.Event()

    def on_signal(number: int) -> None:
        if asked_to_stop.is_set():
            _log.warning("stopped_at_once")
            before_exit()
            os._exit(128 + number)
        asked_to_stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    raise_descriptors()
    runner = await start(config, on_secret=on_secret)
    url = address(runner)
    _spare_the_collector()
    _log.info("listening", url=url)
    on_ready(url)
    await asked_to_stop.wait()
    await stop(runner, config.server.drain_timeout)
    _log.info("stopped")


def _spare_the_collector() -> None:
    """Do not look for garbage in what lives as long as the process, nor after every request.

    Its usual threshold, 700 objects, is passed by two requests; 8 % of a small one.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def address(runner: Runner) -> str:
    """The URL of a runner's first address."""
    host, port = runner.addresses[0][:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
