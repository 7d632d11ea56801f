"""Describes what the admin API needs of the node that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gateway.config.settings import Config
from gateway.keys.directory import KeyDirectory
from gateway.keys.records import KeyTable


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Says how many processes use a change, of how many."""

    confirmed: int
    of: int


class Node(Protocol):
    """Describes a node: the single process, or the master with its workers."""

    @property
    def config(self) -> Config: ...

    @property
    def directory(self) -> KeyDirectory: ...

    async def publish(self, table: KeyTable) -> Confirmed:
        """Use another table of keys everywhere; wait until every process has confirmed it."""
        ...
