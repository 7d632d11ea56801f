"""Offers the path of a request two calls: it was admitted, and it has ended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gateway.ledger.row import Began, LedgerRow
from gateway.ledger.spool import Spool


class Ledger:
    """Writes what a process knows of its requests to its spool; without one, nothing is kept.

    file: the database that the rows come into.
    fault: returns why another process or thread cannot write lines or rows; None if all can.
    refused: whether refused requests are rows too; a reload may change it.

    Both calls are synchronous, never raise and never wait. Only the event loop may make them.
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
        self._spool = spool

    @property
    def lost(self) -> int:
        """Return how many rows of this process were lost so far."""
        return 0 if self._spool is None else self._spool.lost

    @property
    def degraded(self) -> bool:
        """Return whether rows come late, or are lost, in any process of the gateway."""
        return self._fault() is not None or self.loses_rows()

    def loses_rows(self) -> bool:
        """Return whether this process cannot write lines. One that could not tries again first."""
        return self._spool is not None and self._spool.blocked and not self._spool.flush_counts()

    @property
    def kept(self) -> bool:
        """Return whether rows are kept at all, so that they are worth making."""
        return self._spool is not None

    def began(self, began: Began) -> None:
        """Write that a request was admitted."""
        if self._spool is not None:
            self._spool.began(began)

    def ended(self, row: LedgerRow) -> None:
        """Write the row of a request that has ended, or that was refused."""
        if self._spool is not None and (self.refused or not row.refused):
            self._spool.ended(row)

    def close(self) -> None:
        """Close the spool, after the last request has ended."""
        if self._spool is not None:
            self._spool.close()
