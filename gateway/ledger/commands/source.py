"""Describes where the commands usage and requests read from: a file, or a gateway elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from gateway.ledger import queries
from gateway.ledger.queries import Group, LedgerFilter
from gateway.store.database import StoreUnusable

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LedgerSums:
    """Holds the sums of each group, those of all, and how many rows could not be kept."""

    rows: list[Row]
    totals: Row
    lost: int


class LedgerSource(Protocol):
    """Reads a ledger. Names of keys and teams that there are not are empty texts or None."""

    def day_of(self, at: int) -> str:
        """Return the local day of a time in milliseconds since 1970."""
        ...

    def usage(self, by: tuple[Group, ...], where: LedgerFilter) -> LedgerSums:
        """Return sums."""
        ...

    def requests(self, where: LedgerFilter, wanted: str | None, limit: int) -> list[Row]:
        """Return the newest rows. wanted: an id of a row or a request; None for all."""
        ...


class LedgerFile:
    """Reads the database of a gateway on this machine; None for no store.

    day_of: see `LedgerSource`. Methods raise StoreUnusable, OSError and sqlite3.Error.
    """

    def __init__(self, file: Path | None, day_of: Callable[[int], str]) -> None:
        self._file = file
        self._day_of = day_of

    def day_of(self, at: int) -> str:
        """Return the local day of a time in milliseconds since 1970."""
        return self._day_of(at)

    def usage(self, by: tuple[Group, ...], where: LedgerFilter) -> LedgerSums:
        """Return sums."""
        with queries.reading(existing_store(self._file)) as connection:
            rows = queries.usage(connection, by, where)
            (totals,) = queries.usage(connection, (), where)
            return LedgerSums(rows, totals, queries.lost_rows(connection, where))

    def requests(self, where: LedgerFilter, wanted: str | None, limit: int) -> list[Row]:
        """Return the newest rows; an id is that of a row, else that of the client's answer."""
        with queries.reading(existing_store(self._file)) as connection:
            if wanted is None:
                return queries.requests(connection, where, limit=limit)
            by_row = queries.requests(connection, replace(where, id=wanted), limit=limit)
            if by_row:
                return by_row
            by_header = replace(where, request_id=wanted)
            return queries.requests(connection, by_header, limit=limit)


def configured_store(file: Path | None) -> Path:
    """Return the database that is configured. Raises StoreUnusable if there is none."""
    if file is None:
        raise StoreUnusable(
            "store.url is none, so there is no database and no ledger. Set 'store: {url: "
            '"sqlite:///team.db"}\' in the configuration'
        )
    return file


def existing_store(file: Path | None) -> Path:
    """Return the database that is configured and exists. Raises StoreUnusable."""
    path = configured_store(file)
    if not path.exists():
        raise StoreUnusable(
            f"{path} does not exist; a gateway makes it when it starts for the first time"
        )
    return path
