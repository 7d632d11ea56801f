"""Deletes rows that are too old, a few at a time; the sums by day stay for ever."""

from __future__ import annotations

import sqlite3
from typing import Final

from gateway.store.database import transaction

DAY_MS: Final = 86_400_000
RECENT_KEPT_MS: Final = 7 * DAY_MS + 3_600_000

_OLD: Final = "SELECT id FROM request WHERE at < :before ORDER BY at LIMIT :count"
_DAYS: Final = f"""
    INSERT INTO partial_day (day)
    SELECT DISTINCT day FROM request WHERE id IN ({_OLD})
    ON CONFLICT (day) DO NOTHING"""
_DELETE: Final = f"DELETE FROM request WHERE id IN ({_OLD})"
_DELETE_RECENT: Final = "DELETE FROM usage_recent WHERE at < :before"


def delete_old_rows(
    connection: sqlite3.Connection, *, now: int, keep_days: int, count: int = 500
) -> int:
    """Delete the oldest rows beyond `keep_days`, so many at most; return how many there were.

    The days of which rows are missing then are noted. Raises sqlite3.Error.
    """
    values = {"before": now - keep_days * DAY_MS, "count": count}
    if connection.execute(_OLD, {**values, "count": 1}).fetchone() is None:
        return 0
    with transaction(connection):
        connection.execute(_DAYS, values)
        return connection.execute(_DELETE, values).rowcount


def delete_old_buckets(connection: sqlite3.Connection, *, now: int) -> None:
    """Delete the sums of five minutes that no limit looks at any more. Raises sqlite3.Error."""
    with transaction(connection):
        connection.execute(_DELETE_RECENT, {"before": now - RECENT_KEPT_MS})


def give_back_space(connection: sqlite3.Connection, *, pages: int = 200) -> None:
    """Return free pages to the file system. Raises sqlite3.Error."""
    # `execute` would run one step of it only, which gives back one page.
    connection.executescript(f"PRAGMA incremental_vacuum({pages:d})")
