"""Checks a database: its file, and that the sums by day are those of the rows."""

from __future__ import annotations

import sqlite3
from typing import Final

from gateway.ledger.batch import SUMS
from gateway.ledger.row import ABORTED

_CELL: Final = "day, key_id, team_id, model, route"
_ABORTED: Final = "ended IN ({})".format(", ".join(f"'{end}'" for end in ABORTED))
_PARTIAL: Final = "day NOT IN (SELECT day FROM partial_day)"

# What each column of the sums is, over the rows of its cell.
_MADE: Final = {
    "requests": "1 - refused",
    "failed": f"CASE WHEN refused = 0 AND ended <> 'complete' AND NOT {_ABORTED} THEN 1 ELSE 0 END",
    "aborted": f"CASE WHEN refused = 0 AND {_ABORTED} THEN 1 ELSE 0 END",
    "estimated": "CASE WHEN usage_source = 'estimated' THEN 1 ELSE 0 END",
    "first_ms": "coalesce(first_ms, 0)",
    "firsts": "CASE WHEN first_ms IS NULL THEN 0 ELSE 1 END",
}
_REBUILT: Final = (
    f"SELECT {_CELL}, "
    + ", ".join(f"CAST(sum({_MADE.get(name, name)}) AS bigint) AS {name}" for name in SUMS)
    + f" FROM request WHERE {_PARTIAL} GROUP BY {_CELL}"
)
_KEPT: Final = f"SELECT {_CELL}, {', '.join(SUMS)} FROM usage_day WHERE {_PARTIAL}"
_DIFFERING: Final = f"""
    SELECT DISTINCT day FROM (
        SELECT * FROM ({_REBUILT} EXCEPT {_KEPT}) AS missing
        UNION ALL SELECT * FROM ({_KEPT} EXCEPT {_REBUILT}) AS added
    ) AS differing ORDER BY day"""


def damage(connection: sqlite3.Connection) -> list[str]:
    """Return what SQLite finds wrong with the file, at most ten lines. Raises sqlite3.Error."""
    try:
        found = connection.execute("PRAGMA integrity_check(10)").fetchall()
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_CORRUPT:
            raise
        return ["the file is malformed"]
    lines = [str(line) for (line,) in found]
    return [] if lines == ["ok"] else lines


def differing_days(connection: sqlite3.Connection) -> list[str]:
    """Return the days whose sums are not those of their rows. Raises sqlite3.Error.

    Days of which rows were deleted, or never kept, cannot be checked.
    """
    return [str(day) for (day,) in connection.execute(_DIFFERING).fetchall()]
