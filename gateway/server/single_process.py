"""The gateway in one process: a door that is opened, listens, drains and is shut."""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable

import structlog

from gateway.app import ACCOUNTS, CONFIG, UPSTREAM, build_app, render_error
from gateway.config.settings import Config
from gateway.http.in_flight import InFlightRequests
from gateway.server import listeners
from gateway.server.connection_limit import raise_descriptor_limit
from gateway.server.entrypoint import Entrypoint, SiteFactory
from gateway.server.reload import ConfigSource, reload_entrypoint, wait_for_upstream
from gateway.shared_state import LocalState, SharedState

_log = structlog.get_logger("server")

# A connection that was taken but is silent yet, or is kept alive after an answer that did not
# say otherwise, may have a request on its way. aiohttp alone would close it at once.
_DRAIN_GRACE = 0.4  # seconds


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
        self._entrypoint: Entrypoint | None = None

    async def start(self) -> str:
        """See `Service`."""
        self._entrypoint = await start_entrypoint(
            self._config, sockets=self._sockets, on_secret=self._on_secret
        )
        tune_garbage_collector()
        return url_of_entrypoint(self._entrypoint)

    @property
    def entrypoint(self) -> Entrypoint:
        """The door, once it is started."""
        assert self._entrypoint is not None
        return self._entrypoint

    @property
    def requests(self) -> int:
        """How many requests are under way."""
        return self.entrypoint.in_flight.active

    @property
    def accounts(self) -> tuple[int, int]:
        """How many accounts could serve a request now, and how many there are."""
        return self.entrypoint.app[UPSTREAM].accounts

    @property
    def drain_timeout(self) -> float:
        """See `Service`."""
        return self.entrypoint.app[CONFIG].server.drain_timeout

    async def wait_for_upstream(self) -> None:
        """See `Service`."""
        await wait_for_upstream(self.entrypoint.app[ACCOUNTS].tried)

    async def reload(self, source: ConfigSource) -> None:
        """See `Service`."""
        await reload_entrypoint(self.entrypoint, source)

    async def stop(self) -> None:
        """See `Service`."""
        await stop_entrypoint(self.entrypoint, self.drain_timeout)

    async def close(self) -> None:
        """Nothing is left after `stop_entrypoint`, or a `start_entrypoint` that failed."""

    def kill(self) -> None:
        """There is nothing but this process."""


async def start_entrypoint(
    config: Config,
    *,
    sockets: list[socket.socket] | None = None,
    shared: SharedState | None = None,
    on_secret: Callable[[str], None] = lambda _: None,
) -> Entrypoint:
    """A gateway that serves; `entrypoint.addresses` says where. Raises OSError or ConfigError.

    sockets: to listen on instead of the configured address. shared: with other processes;
    unless given, this one is alone. To be ended by `stop_entrypoint`.
    """
    # Before anything else: an address that is taken should cost no login.
    sockets = sockets or listeners.open_listeners(config.server.host, config.server.port)
    try:
        listeners.check_exposure(config, [s.getsockname() for s in sockets])
        entrypoint = await create_entrypoint(config, shared or LocalState(), on_secret=on_secret)
        await accept_connections(entrypoint, sockets)
    except BaseException:
        listeners.close_listeners(sockets)
        raise
    return entrypoint


async def create_entrypoint(
    config: Config, shared: SharedState, *, on_secret: Callable[[str], None] = lambda _: None
) -> Entrypoint:
    """A gateway that could serve, but listens to nobody yet. To be ended by `stop_entrypoint`."""
    in_flight = InFlightRequests()
    entrypoint = Entrypoint(in_flight, render_error)
    try:
        await entrypoint.setup()
        entrypoint.put(
            await entrypoint.start(build_app(config, in_flight, shared, on_secret=on_secret))
        )
    except BaseException:
        await entrypoint.cleanup()
        raise
    return entrypoint


async def accept_connections(
    entrypoint: Entrypoint, sockets: list[socket.socket], site: SiteFactory | None = None
) -> None:
    """Listen on these sockets, which are the door's from now on; if that fails, it is shut.

    site: how connections are taken.
    """
    try:
        await entrypoint.listen(sockets, site)
        raise_descriptor_limit()
        entrypoint.limit(entrypoint.app[CONFIG])
    except BaseException:
        await entrypoint.cleanup()
        raise


async def stop_entrypoint(
    entrypoint: Entrypoint, drain_timeout: float, *, grace: float = _DRAIN_GRACE
) -> None:
    """Take no new connections, let requests finish for a while, then end them.

    grace: how long a connection waits for another request before it is closed.
    """
    in_flight = entrypoint.in_flight
    in_flight.closing = True
    for site in list(entrypoint.sites):
        await site.stop()
    _log.info("draining", active=in_flight.active, timeout=drain_timeout)
    if not await entrypoint.drain(drain_timeout, grace):
        _log.warning("drain_timeout", active=in_flight.active)
    await in_flight.interrupt()
    await entrypoint.cleanup()


def tune_garbage_collector() -> None:
    """Do not look for garbage in what lives as long as the process, nor after every request.

    Its usual threshold, 700 objects, is passed by two requests; 8 % of a small one. The
    first application stays in memory after a reload, therefore; later ones do not.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def url_of_entrypoint(entrypoint: Entrypoint) -> str:
    """The URL of a gateway's first address."""
    return listeners.url_of(entrypoint.addresses[0])
