"""Describes what the admin API needs of the node that it belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from gateway.admission.live import LiveRequest
from gateway.config.settings import Config
from gateway.fitten.account_control import AccountControl
from gateway.keys.directory import KeyDirectory
from gateway.keys.records import KeyTable
from gateway.ledger.reader import LedgerReader
from gateway.limits.claims import Scope, Standing, Verdict
from gateway.limits.names import Kind


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Says how many processes use a change, of how many."""

    confirmed: int
    of: int


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Describes a node at one moment.

    at, started_at: milliseconds since 1970.
    ready: whether a request could be served now; fault: why not.
    degraded: what does not work as it should, such as `ledger`.
    requests: how many are open. queued: how many of them wait for a slot of an account.
    waiting: how many wait in the line of their key, and are not admitted yet.
    accounts, accounts_serving: how many there are, and how many could serve a request.
    workers, workers_serving: the same of processes; None without workers.
    keys_version: the version of the table of keys; 0 without a store.
    """

    at: int
    started_at: int
    version: str
    ready: bool
    fault: str | None
    degraded: list[str]
    requests: int
    queued: int
    waiting: int
    accounts: int
    accounts_serving: int
    workers: int | None
    workers_serving: int | None
    keys_version: int


class Node(Protocol):
    """Describes a node: the single process, or the master with its workers.

    config: the settings in use. directory: the keys that are made at run time.
    ledger: reads the ledger; None without a store.
    accounts: controls the accounts of the settings in use.
    """

    @property
    def config(self) -> Config: ...

    @property
    def directory(self) -> KeyDirectory: ...

    @property
    def ledger(self) -> LedgerReader | None: ...

    @property
    def accounts(self) -> AccountControl: ...

    async def publish(self, table: KeyTable) -> Confirmed:
        """Use another table of keys everywhere; wait until every process has confirmed it."""
        ...

    async def live(self) -> list[LiveRequest]:
        """Return the open requests of all processes, the oldest first."""
        ...

    async def end(self, row_id: str, by: str) -> bool:
        """End an open request; return whether there was one of this id.

        by: who does it, for the log.
        """
        ...

    def look(self, scopes: Sequence[Scope], kind: Kind) -> Verdict | None:
        """Return what would refuse a request in these scopes now; None if nothing would."""
        ...

    def standings(self, scopes: Sequence[Scope]) -> list[Standing]:
        """Return how much is used of each limit of these scopes."""
        ...

    def status(self) -> NodeStatus:
        """Return how the node is now."""
        ...
