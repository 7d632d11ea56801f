"""Tells what a process has of the ledger: its spool, and whether rows are lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gateway.ledger.spool import Spool


class Ledger:
    """Holds the ledger of a process. Without a spool, nothing is kept.

    spool: takes the lines about requests. Only the event loop may write to it.
    file: the database that the rows come into.
    fault: returns why another process or thread cannot write lines or rows; None if all can.
    refused: whether refused requests are rows too; a reload may change it.
    """

    def __init__(
        self,
        spool: Spool | None = None,
        *,
        file: Path | None = None,
        refused: bool = True,
        fault: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.file = file
        self._fault = fault
        self.refused = refused
        self.spool = spool

    @property
    def lost(self) -> int:
        """Return how many rows of this process were lost so far."""
        return 0 if self.spool is None else self.spool.lost

    @property
    def degraded(self) -> bool:
        """Return whether rows come late, or are lost, in any process of the gateway."""
        return self._fault() is not None or self.loses_rows()

    def loses_rows(self) -> bool:
        """Return whether this process cannot write lines. One that could not tries again first."""
        return self.spool is not None and self.spool.blocked and not self.spool.flush_counts()

    def close(self) -> None:
        """Close the spool, after the last request has ended."""
        if self.spool is not None:
            self.spool.close()
