"""The gateway in one process: a door that is opened, listens, drains and is shut."""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable

import structlog

from gateway.app import ACCOUNTS, CONFIG, UPSTREAM, build_app, render_error
from gateway.config.settings import Config
from gateway.http.in_flight import Lifecycle
from gateway.server import listeners
from gateway.server.connection_limit import raise_descriptors
from gateway.server.entrypoint import Door, Site
from gateway.server.reload import Source, first_try, reload
from gateway.shared_state import Alone, Shared

_log = structlog.get_logger("server")

# A connection that was taken but is silent yet, or is kept alive after an answer that did not
# say otherwise, may have a request on its way. aiohttp alone would close it at once.
_GRACE = 0.4  # seconds


class SingleProcess:
    """The gateway in one process; see `Service`.

    sockets: to listen on instead of `server.host` and `server.port`. on_secret: told every
    secret that is learnt while running.
    """

    workers = None

    def __init__(
        self,
        config: Config,
        *,
        sockets: list[socket.socket] | None = None,
        on_secret: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._config = config
        self._sockets = sockets
        self._on_secret = on_secret
        self._door: Door | None = None

    async def start(self) -> str:
        """See `Service`."""
        self._door = await start(self._config, sockets=self._sockets, on_secret=self._on_secret)
        spare_the_collector()
        return address(self._door)

    @property
    def door(self) -> Door:
        """The door, once it is started."""
        assert self._door is not None
        return self._door

    @property
    def requests(self) -> int:
        """How many requests are under way."""
        return self.door.lifecycle.active

    @property
    def accounts(self) -> tuple[int, int]:
        """How many accounts could serve a request now, and how many there are."""
        return self.door.app[UPSTREAM].accounts

    @property
    def drain_timeout(self) -> float:
        """See `Service`."""
        return self.door.app[CONFIG].server.drain_timeout

    async def first_try(self) -> None:
        """See `Service`."""
        await first_try(self.door.app[ACCOUNTS].tried)

    async def reload(self, source: Source) -> None:
        """See `Service`."""
        await reload(self.door, source)

    async def stop(self) -> None:
        """See `Service`."""
        await stop(self.door, self.drain_timeout)

    async def close(self) -> None:
        """Nothing is left after `stop`, or a `start` that failed."""

    def kill(self) -> None:
        """There is nothing but this process."""


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
    sockets = sockets or listeners.listen(config.server.host, config.server.port)
    try:
        listeners.check_exposure(config, [s.getsockname() for s in sockets])
        door = await open_door(config, shared or Alone(), on_secret=on_secret)
        await take_connections(door, sockets)
    except BaseException:
        listeners.close(sockets)
        raise
    return door


async def open_door(
    config: Config, shared: Shared, *, on_secret: Callable[[str], None] = lambda _: None
) -> Door:
    """A gateway that could serve, but listens to nobody yet. To be ended by `stop`."""
    lifecycle = Lifecycle()
    door = Door(lifecycle, render_error)
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
    return listeners.url(door.addresses[0])
