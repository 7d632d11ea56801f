"""Reads the ledger that the gateway left: its rows, its sums, and what else it says.

It does so without the gateway's own code, which is what is under test.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_CELL = "day, key_id, team_id, model, route"

# What the sums by day must be, made of the rows alone.
_OF_ROWS = {
    "requests": "sum(1 - refused)",
    "refused": "sum(refused)",
    "prompt_tokens": "sum(prompt_tokens)",
    "completion_tokens": "sum(completion_tokens)",
    "duration_ms": "sum(duration_ms)",
}


@dataclass(frozen=True)
class LedgerBooks:
    """Holds what is in the database after the last process has ended.

    rows: by tag. sums: of all days. of_rows: the same sums, made of the rows.
    counters: what `GET /v1/usage` showed last, by limit: the requests and the tokens of the month.
    faults: one sentence for each thing that is wrong with the file itself.
    """

    rows: Mapping[str, list[dict[str, Any]]]
    sums: Mapping[str, int]
    of_rows: Mapping[str, int]
    counters: Mapping[str, int] = field(default_factory=dict)
    faults: tuple[str, ...] = ()

    def differences(self) -> list[str]:
        """Return a sentence for each sum or counter that is not that of the rows."""
        found = list(self.faults)
        for name, value in self.of_rows.items():
            if self.sums.get(name) != value:
                found.append(f"the rows have {value} {name}, the sums {self.sums.get(name)}")
        for name, value in self.counted().items():
            if self.counters.get(name) != value:
                counted = self.counters.get(name)
                found.append(f"the rows have {value} of {name}, the counter {counted}")
        return found

    def counted(self) -> dict[str, int]:
        """Return what the counters of limits must be."""
        tokens = self.of_rows["prompt_tokens"] + self.of_rows["completion_tokens"]
        return {"requests_per_month": self.of_rows["requests"], "tokens_per_month": tokens}


def read(path: Path, counters: Mapping[str, int]) -> LedgerBooks:
    """Read the database of a gateway that has ended."""
    uri = f"file:{path}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        rows: dict[str, list[dict[str, Any]]] = {}
        for row in connection.execute("SELECT * FROM request"):
            rows.setdefault(row["request_id"], []).append(dict(row))
        made = ", ".join(f"{text} AS {name}" for name, text in _OF_ROWS.items())
        kept = ", ".join(f"sum({name}) AS {name}" for name in _OF_ROWS)
        of_rows = _sums(connection, f"SELECT {made} FROM request")
        sums = _sums(connection, f"SELECT {kept} FROM usage_day")
        faults = _faults(connection, made)
    return LedgerBooks(rows, sums, of_rows, counters, tuple(faults))


def _sums(connection: sqlite3.Connection, query: str) -> dict[str, int]:
    (row,) = connection.execute(query).fetchall()
    return {name: row[name] or 0 for name in row.keys()}  # noqa: SIM118  a row's iterator gives values


def _faults(connection: sqlite3.Connection, made: str) -> list[str]:
    def one(query: str) -> Any:
        return connection.execute(query).fetchone()[0]

    faults = []
    if (found := one("PRAGMA integrity_check(1)")) != "ok":
        faults.append(f"the database is damaged: {found}")
    kept = f"SELECT {_CELL}, {', '.join(_OF_ROWS)} FROM usage_day"
    rebuilt = f"SELECT {_CELL}, {made} FROM request GROUP BY {_CELL}"
    for left, right in ((kept, rebuilt), (rebuilt, kept)):
        for cell in connection.execute(f"{left} EXCEPT {right}"):
            faults.append(f"the sums of {cell['day']} {cell['route']} are not those of the rows")
    if lost := one("SELECT coalesce(sum(count), 0) FROM lost"):
        faults.append(f"{lost} rows are lost")
    if begun := one("SELECT count(*) FROM began"):
        faults.append(f"{begun} requests are open for ever")
    return faults


def remove(path: Path) -> None:
    """Remove the database of another run, and its spool."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    for file in path.with_name(f"{path.name}.spool").glob("*"):
        with contextlib.suppress(OSError):
            file.unlink()
