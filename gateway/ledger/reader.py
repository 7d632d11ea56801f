"""Reads the ledger beside the event loop: a few queries at once, each for a few seconds."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import structlog

from gateway.errors import Unavailable
from gateway.ledger.queries import reading
from gateway.store.database import StoreUnusable

_log = structlog.get_logger("ledger")

_AT_ONCE = 2  # each holds a thread and a connection
_R = TypeVar("_R")


class LedgerReader:
    """Runs queries of one database in threads; the rest wait for their turn."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def read(self, query: Callable[[sqlite3.Connection], _R]) -> _R:
        """Return what a query returns of one view of the data.

        It ends after `LONGEST` seconds. Raises Unavailable if the database cannot be read, or
        not in that time.
        """
        async with self._turns:
            return await asyncio.to_thread(self._read, query)

    def _read(self, query: Callable[[sqlite3.Connection], _R]) -> _R:
        try:
            with reading(self._path) as connection:
                return query(connection)
        except StoreUnusable as error:
            raise _unavailable(f"The ledger cannot be read: {error}.") from None
        except (sqlite3.Error, OSError) as error:
            _log.warning("ledger_not_read", reason=type(error).__name__)
            raise _unavailable(
                "The ledger cannot be read at the moment; the log of the gateway says why."
            ) from None


def _unavailable(message: str) -> Unavailable:
    return Unavailable(message, code="store_unavailable", retry_after=5.0)
