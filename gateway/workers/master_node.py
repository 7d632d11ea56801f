"""Implements the node of the admin API for a master and its workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.admin.node import Confirmed, NodeStatus
from gateway.admission.live import LiveRequest
from gateway.config.settings import Config
from gateway.fitten.account_control import AccountControl
from gateway.fitten.account_registry import LocalAccountRegistry
from gateway.keys.directory import KeyDirectory
from gateway.keys.records import KeyTable
from gateway.ledger.reader import LedgerReader
from gateway.limits.claims import Scope, Standing, Verdict
from gateway.limits.names import Kind
from gateway.server.local_node import node_status
from gateway.workers.services.composition import MasterState
from gateway.workers.supervisor import WorkerSupervisor


class MasterNode:
    """Implements `Node` in the master, which holds what its workers share.

    current: returns the settings and the accounts in use, which a reload replaces.
    fault: returns why the ledger cannot be written; None if it can.
    store: the database of the ledger, in use since the start; None without one.
    """

    def __init__(
        self,
        state: MasterState,
        supervisor: WorkerSupervisor,
        current: Callable[[], tuple[Config, LocalAccountRegistry]],
        fault: Callable[[], str | None],
        store: Path | None,
    ) -> None:
        self._state = state
        self._supervisor = supervisor
        self._current = current
        self._fault = fault
        self._started_at = time.time_ns() // 1_000_000
        self.ledger = None if store is None else LedgerReader(store)

    @property
    def config(self) -> Config:
        """See `Node`."""
        return self._current()[0]

    @property
    def directory(self) -> KeyDirectory:
        """See `Node`."""
        return self._state.keys.directory

    @property
    def accounts(self) -> AccountControl:
        """See `Node`."""
        return AccountControl(self._current()[1].pool)

    async def publish(self, table: KeyTable) -> Confirmed:
        """See `Node`."""
        return Confirmed(*await self._state.keys.publish(table))

    async def live(self) -> list[LiveRequest]:
        """See `Node`."""
        return await self._supervisor.live()

    async def end(self, row_id: str, by: str) -> bool:
        """See `Node`."""
        return await self._supervisor.end_live(row_id, by)

    def look(self, scopes: Sequence[Scope], kind: Kind) -> Verdict | None:
        """See `Node`."""
        return self._state.meter.meter.look(scopes, kind)

    def standings(self, scopes: Sequence[Scope]) -> list[Standing]:
        """See `Node`."""
        return self._state.meter.meter.standings(scopes)

    def status(self) -> NodeStatus:
        """See `Node`; requests are counted by the workers' last heartbeats."""
        supervisor = self._supervisor
        degraded = [] if self._fault() is None else ["ledger"]
        if supervisor.serving < supervisor.count:
            degraded.append("workers")
        return node_status(
            self._current()[1],
            started_at=self._started_at,
            degraded=degraded,
            requests=supervisor.requests,
            waiting=self._state.meter.waiting,
            keys_version=self._state.keys.directory.version,
            workers=(supervisor.serving, supervisor.count),
        )
