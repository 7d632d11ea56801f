"""Offers the path of a request two calls: it was admitted, and it has ended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gateway.ledger.row import Began, LedgerRow
from gateway.ledger.spool import Spool


class Ledger:
    """Writes what a process knows of its requests to its spool; without one, nothing is kept.

    file: the database that the rows come into.
    fault: returns why the writer cannot write now, where it is in this process; None if it can.
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
        """Return whether rows come late, or are lost, as far as this process knows."""
        return self._fault() is not None or (self._spool is not None and self._spool.blocked)

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
