"""Runs the gateway in one process: starts, drains and closes its entrypoints."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import structlog

from gateway.app import ACCOUNTS, CONFIG, UPSTREAM, build_app, render_without_route
from gateway.config.settings import Config
from gateway.http.in_flight import InFlightRequests
from gateway.server import listeners
from gateway.server.admin_listener import AdminListener
from gateway.server.entrypoint import Entrypoint, open_entrypoint
from gateway.server.local_node import LocalNode
from gateway.server.node_keys import NodeKeys
from gateway.server.node_ledger import NodeLedger, process_ledger
from gateway.server.reload import ConfigSource, reload_entrypoint, wait_for_upstream
from gateway.shared_state import LocalState, SharedState

_log = structlog.get_logger("server")

# Seconds that a drain keeps an idle connection: it may be new, or kept alive by its last answer,
# and have a request on its way. aiohttp alone would close it at once.
_DRAIN_GRACE = 0.4


class SingleProcess:
    """Serves in this process alone; see `Service`.

    sockets: listening sockets to use instead of `server.host` and `server.port`.
    on_secret: called with each secret that becomes known while running.
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
        self._node_ledger = NodeLedger(config)
        self._node_keys = NodeKeys(config)
        self._admin = AdminListener(config)
        self._state = LocalState()

    async def start(self) -> str:
        """See `Service`."""
        config = self._config
        # First of all: if the address is in use, another process may have the same store.
        sockets = self._sockets or listeners.open_listeners(config.server.host, config.server.port)
        try:
            self._admin.open()
            await self._node_ledger.start(self._state.meter)
            self._state.ledger = process_ledger(config, "main", self._node_ledger.fault)
            await self._node_keys.load(self._state.keys)
        except BaseException:
            listeners.close_listeners(sockets)
            await self._close_store()
            raise
        try:
            self._entrypoint = await start_entrypoint(
                config, sockets=sockets, shared=self._state, on_secret=self._on_secret
            )
        except BaseException:
            await self._close_store()
            raise
        try:
            await self._start_admin(self._entrypoint)
        except BaseException:
            await self.stop()
            raise
        tune_memory()
        return url_of_entrypoint(self._entrypoint)

    @property
    def entrypoint(self) -> Entrypoint:
        """Return the entrypoint; only after `start`."""
        assert self._entrypoint is not None
        return self._entrypoint

    @property
    def admin(self) -> AdminListener:
        """Return the listener of the admin API."""
        return self._admin

    @property
    def requests(self) -> int:
        """Return how many requests are open."""
        return self.entrypoint.in_flight.active

    @property
    def accounts(self) -> tuple[int, int]:
        """Return how many accounts could serve a request now, and how many there are."""
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
        config = await reload_entrypoint(self.entrypoint, source, self._prepared)
        self._node_ledger.configure(config)
        self._node_keys.configure(config)
        await self._admin.configure(config)

    @contextmanager
    def _prepared(self, config: Config) -> Iterator[None]:
        self._node_keys.check(config)
        with self._admin.prepared(config):
            yield

    async def stop(self) -> None:
        """See `Service`."""
        # The admin API stays while requests end: somebody may have to end one that does not.
        await stop_entrypoint(self.entrypoint, self.drain_timeout)
        await self._close_store()

    async def _start_admin(self, entrypoint: Entrypoint) -> None:
        node = LocalNode(
            self._state, lambda: entrypoint.app, entrypoint.in_flight, self._config.store_file
        )
        await self._admin.start(node, self._node_keys.manager)
        self._node_keys.start(self._state.keys, node.publish)

    async def _close_store(self) -> None:
        await self._admin.stop()
        await self._node_keys.stop()
        self._state.ledger.close()
        await self._node_ledger.stop()

    async def close(self) -> None:
        """Do nothing: `stop` and a failed `start` have closed everything."""

    def kill(self) -> None:
        """Do nothing: there is no other process."""


async def start_entrypoint(
    config: Config,
    *,
    sockets: list[socket.socket] | None = None,
    shared: SharedState | None = None,
    on_secret: Callable[[str], None] = lambda _: None,
) -> Entrypoint:
    """Start an entrypoint that serves; `entrypoint.addresses` are its addresses.

    `stop_entrypoint` must follow. Raises OSError or ConfigError.

    sockets: listening sockets to use instead of the configured address.
    shared: state that is shared with other processes; without it, this process is alone.
    on_secret: called with each secret that becomes known while running.
    """
    # First of all: if the address is in use, no login should be made.
    sockets = sockets or listeners.open_listeners(config.server.host, config.server.port)
    try:
        listeners.check_exposure(config, [s.getsockname() for s in sockets])
        in_flight = InFlightRequests()
        shared = shared or LocalState()
        shared.configure(config)
        app = build_app(config, in_flight, shared, on_secret=on_secret)
    except BaseException:
        listeners.close_listeners(sockets)
        raise
    limits = listeners.limits_of(config)
    return await open_entrypoint(
        app, sockets, render=render_without_route, limits=limits, in_flight=in_flight
    )


async def stop_entrypoint(
    entrypoint: Entrypoint,
    drain_timeout: float,
    *,
    others: Sequence[Entrypoint] = (),
    grace: float = _DRAIN_GRACE,
) -> None:
    """Stop listening, wait for open requests, then cancel the rest and close the entrypoint.

    drain_timeout: seconds that open requests may take.
    others: further entrypoints of this process, which drain at the same time.
    grace: seconds that an idle connection is kept for another request.
    """
    entrypoints = [entrypoint, *others]
    for each in entrypoints:
        each.in_flight.closing = True
        for site in list(each.sites):
            await site.stop()
    active = sum(each.in_flight.active for each in entrypoints)
    _log.info("draining", active=active, timeout=drain_timeout)
    if not all(await asyncio.gather(*(each.drain(drain_timeout, grace) for each in entrypoints))):
        active = sum(each.in_flight.active for each in entrypoints)
        _log.warning("drain_timeout", active=active)
    await asyncio.gather(*(each.in_flight.interrupt() for each in entrypoints))
    await asyncio.gather(*(each.cleanup() for each in entrypoints))


def tune_memory() -> None:
    """Make the garbage collector run less often, and the C library reuse large blocks.

    With Python's threshold of 700 objects the collector would run at every second request and
    take 8 % of a small request's processor time. Existing objects are frozen: so the first
    application stays in memory after a reload. Later applications do not.

    glibc maps blocks over a threshold anew each time. It raises the threshold when such a block
    is freed (mallopt(3)). uvloop reads TLS into blocks of 256 KB: over the threshold, a paced
    piece costs a quarter more. Without this it was chance whether an import had raised it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
    bytearray(1024 * 1024)  # allocated and freed at once


def url_of_entrypoint(entrypoint: Entrypoint) -> str:
    """Return the URL of an entrypoint's first address."""
    return listeners.url_of(entrypoint.addresses[0])
