"""Reads the ledger that the gateway left: its rows, its sums, and what else it says."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.ledger import queries, verify
from gateway.ledger.queries import LedgerFilter

_LONGEST = 60.0  # seconds of all queries together

# What the sums by day must be, made of the rows alone.
_OF_ROWS = {
    "requests": "sum(1 - refused)",
    "refused": "sum(refused)",
    "prompt_tokens": "sum(prompt_tokens)",
    "completion_tokens": "sum(completion_tokens)",
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
    with queries.reading(path, longest=_LONGEST) as connection:
        rows: dict[str, list[dict[str, Any]]] = {}
        for row in connection.execute("SELECT * FROM request"):
            rows.setdefault(row["request_id"], []).append(dict(row))
        (sums,) = queries.usage(connection, (), LedgerFilter())
        made = ", ".join(f"coalesce({text}, 0) AS {name}" for name, text in _OF_ROWS.items())
        of_rows = dict(connection.execute(f"SELECT {made} FROM request").fetchone())
        faults = [f"the database is damaged: {line}" for line in verify.damage(connection)]
        faults += [f"the sums of {day} differ" for day in verify.differing_days(connection)]
        if lost := queries.lost_rows(connection):
            faults.append(f"{lost} rows are lost")
        (begun,) = connection.execute("SELECT count(*) FROM began").fetchone()
        if begun:
            faults.append(f"{begun} requests are open for ever")
    return LedgerBooks(rows, sums, of_rows, counters, tuple(faults))


def remove(path: Path) -> None:
    """Remove the database of another run, and its spool."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    for file in path.with_name(f"{path.name}.spool").glob("*"):
        with contextlib.suppress(OSError):
            file.unlink()
