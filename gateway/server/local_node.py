"""Implements the node of the admin API for a gateway in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from aiohttp import web

from gateway import __version__
from gateway.admin.node import Confirmed, NodeStatus
from gateway.admission.live import LiveRequest
from gateway.app import ACCOUNTS, CONFIG
from gateway.config.settings import Config
from gateway.fitten.account_control import AccountControl
from gateway.fitten.account_registry import LocalAccountRegistry
from gateway.http.in_flight import InFlightRequests
from gateway.keys.directory import KeyDirectory
from gateway.keys.records import KeyTable
from gateway.ledger.reader import LedgerReader
from gateway.limits.claims import Scope, Standing, Verdict
from gateway.limits.names import Kind
from gateway.shared_state import LocalState


class LocalNode:
    """Implements `Node` in the process that serves.

    app: returns the application in use, which a reload replaces.
    store: the database of the ledger, in use since the start; None without one.
    """

    def __init__(
        self,
        state: LocalState,
        app: Callable[[], web.Application],
        in_flight: InFlightRequests,
        store: Path | None,
    ) -> None:
        self._state = state
        self._app = app
        self._in_flight = in_flight
        self._started_at = time.time_ns() // 1_000_000
        self.ledger = None if store is None else LedgerReader(store)

    @property
    def config(self) -> Config:
        """See `Node`."""
        return self._app()[CONFIG]

    @property
    def directory(self) -> KeyDirectory:
        """See `Node`."""
        return self._state.keys

    @property
    def accounts(self) -> AccountControl:
        """See `Node`."""
        return AccountControl(self._registry.pool)

    async def publish(self, table: KeyTable) -> Confirmed:
        """See `Node`."""
        self._state.keys.replace(table)
        return Confirmed(1, 1)

    async def live(self) -> list[LiveRequest]:
        """See `Node`."""
        return self._state.live.snapshot()

    async def end(self, row_id: str, by: str) -> bool:
        """See `Node`."""
        return self._state.live.end(row_id, by)

    def look(self, scopes: Sequence[Scope], kind: Kind) -> Verdict | None:
        """See `Node`."""
        return self._state.meter.meter.look(scopes, kind)

    def standings(self, scopes: Sequence[Scope]) -> list[Standing]:
        """See `Node`."""
        return self._state.meter.meter.standings(scopes)

    def status(self) -> NodeStatus:
        """See `Node`."""
        return node_status(
            self._registry,
            started_at=self._started_at,
            degraded=["ledger"] if self._state.ledger.degraded else [],
            requests=self._in_flight.active,
            waiting=self._state.meter.waiting,
            keys_version=self._state.keys.version,
            workers=None,
        )

    @property
    def _registry(self) -> LocalAccountRegistry:
        registry = self._app()[ACCOUNTS]
        assert isinstance(registry, LocalAccountRegistry)
        return registry


def node_status(
    registry: LocalAccountRegistry,
    *,
    started_at: int,
    degraded: list[str],
    requests: int,
    waiting: int,
    keys_version: int,
    workers: tuple[int, int] | None,
) -> NodeStatus:
    """Return the state of a node, with that of its accounts; see `NodeStatus`.

    workers: how many serve, and how many are configured.
    """
    fault, pool = registry.pool.fault(), registry.pool.summary()
    return NodeStatus(
        at=time.time_ns() // 1_000_000,
        started_at=started_at,
        version=__version__,
        ready=fault is None,
        fault=None if fault is None else fault.message,
        degraded=degraded,
        requests=requests,
        queued=pool.queued,
        waiting=waiting,
        accounts=pool.total,
        accounts_serving=pool.healthy,
        workers=None if workers is None else workers[1],
        workers_serving=None if workers is None else workers[0],
        keys_version=keys_version,
    )
