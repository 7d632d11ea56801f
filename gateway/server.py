"""The process's life: listen, serve, reload and drain on signals, exit."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import structlog

from gateway import listening
from gateway.admission import raise_descriptors
from gateway.app import ACCOUNTS, CONFIG, UPSTREAM, build_app
from gateway.config import Config
from gateway.door import Door, Site
from gateway.heartbeat import Status, beat, beg
from gateway.lifecycle import Lifecycle
from gateway.reload import Source, first_try, reload, reload_when_asked
from gateway.shared import Alone, Shared
from gateway.systemd import Supervisor

_log = structlog.get_logger("server")

R = TypeVar("R")

# A connection that was taken but is silent yet, or is kept alive after an answer that did not
# say otherwise, may have a request on its way. aiohttp alone would close it at once.
_GRACE = 0.4  # seconds


async def serve(
    config: Config,
    *,
    sockets: list[socket.socket] | None = None,
    source: Source | None = None,
    supervisor: Supervisor | None = None,
    on_secret: Callable[[str], None] = lambda _: None,
    on_ready: Callable[[str], None] = lambda _: None,
    before_exit: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT; a second signal ends the process at once.

    sockets: to listen on instead of `server.host` and `server.port`. source: of the settings
    that SIGHUP asks for. supervisor: is told how the process is. on_ready: told the URL once
    requests are taken. before_exit: called before the process is ended at once, which skips
    every `finally`. Raises OSError when the address cannot be listened on, ConfigError when
    it must not.
    """
    supervisor = supervisor or Supervisor()
    stop_asked, reload_asked = asyncio.Event(), asyncio.Event()
    on_stop(stop_asked, supervisor, before_exit)
    if source is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload_asked.set)

    door = await start(config, sockets=sockets, on_secret=on_secret)
    status = Status(lambda: door.lifecycle.active, lambda: door.app[UPSTREAM].accounts)
    spare_the_collector()
    _log.info("listening", url=address(door))
    on_ready(address(door))

    async def get_ready_and_reload() -> None:
        if supervisor.there:  # nobody else waits for it
            await first_try(door.app[ACCOUNTS].tried)
        supervisor.ready(status())
        if source is not None:
            await reload_when_asked(reload_asked, partial(reload, door, source), supervisor, status)

    async with meanwhile(beat(supervisor, status)):
        async with meanwhile(get_ready_and_reload()):
            await stop_asked.wait()
        timeout = door.app[CONFIG].server.drain_timeout
        status.draining(timeout)
        async with meanwhile(beg(supervisor)):
            await stop(door, timeout)
    _log.info("stopped")


def on_stop(asked: asyncio.Event, supervisor: Supervisor, before_exit: Callable[[], None]) -> None:
    """Have SIGTERM and SIGINT ask for a stop, and a second one end the process."""

    def on_signal(number: int) -> None:
        if asked.is_set():
            _log.warning("stopped_at_once")
            before_exit()
            os._exit(128 + number)
        supervisor.stopping()
        asked.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal, number)


@asynccontextmanager
async def meanwhile(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Work of its own task, until the block is left."""
    task = asyncio.create_task(work)
    task.add_done_callback(_complain)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _complain(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        _log.error("bug", exc_info=task.exception())


async def start(
    config: Config,
    *,
    sockets: list[socket.socket] | None = None,
    shared: Shared | None = None,
    on_secret: Callable[[str], None] = lambda _: None,
) -> Door:
    """A gateway that serves; `door.addresses` says where. Raises OSError or ConfigError.

    sockets: to listen on instead of the configured address. shared: with other processes;
    unless given, this one is alone. To be ended by `stop`.
    """
    # Before anything else: an address that is taken should cost no login.
    sockets = sockets or listening.listen(config.server.host, config.server.port)
    try:
        listening.check_exposure(config, [s.getsockname() for s in sockets])
        door = await open_door(config, shared or Alone(), on_secret=on_secret)
        await take_connections(door, sockets)
    except BaseException:
        listening.close(sockets)
        raise
    return door


async def open_door(
    config: Config, shared: Shared, *, on_secret: Callable[[str], None] = lambda _: None
) -> Door:
    """A gateway that could serve, but listens to nobody yet. To be ended by `stop`."""
    lifecycle = Lifecycle()
    door = Door(lifecycle)
    try:
        await door.setup()
        door.put(await door.start(build_app(config, lifecycle, shared, on_secret=on_secret)))
    except BaseException:
        await door.cleanup()
        raise
    return door


async def take_connections(
    door: Door, sockets: list[socket.socket], site: Site | None = None
) -> None:
    """Listen on these sockets, which are the door's from now on; if that fails, it is shut.

    site: how connections are taken.
    """
    try:
        await door.listen(sockets, site)
        raise_descriptors()
        door.limit(door.app[CONFIG])
    except BaseException:
        await door.cleanup()
        raise


async def stop(door: Door, drain_timeout: float, *, grace: float = _GRACE) -> None:
    """Take no new connections, let requests finish for a while, then end them.

    grace: how long a connection waits for another request before it is closed.
    """
    lifecycle = door.lifecycle
    lifecycle.closing = True
    for site in list(door.sites):
        await site.stop()
    _log.info("draining", active=lifecycle.active, timeout=drain_timeout)
    if not await door.drain(drain_timeout, grace):
        _log.warning("drain_timeout", active=lifecycle.active)
    await lifecycle.interrupt()
    await door.cleanup()


def run(main: Coroutine[Any, Any, R]) -> R:
    """What a coroutine gives, run on the fastest event loop there is."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ImportError):  # there is none for Windows
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def spare_the_collector() -> None:
    """Do not look for garbage in what lives as long as the process, nor after every request.

    Its usual threshold, 700 objects, is passed by two requests; 8 % of a small one. The
    first application stays in memory after a reload, therefore; later ones do not.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def address(door: Door) -> str:
    """The URL of a gateway's first address."""
    return listening.url(door.addresses[0])
