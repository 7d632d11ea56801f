"""Rows of requests, and a ledger whose clock the test sets."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.ledger.row import Began, LedgerRow, new_row_id
from gateway.ledger.spool import Spool
from gateway.ledger.spool_files import spool_folder
from gateway.ledger.writer import SpoolTransfer
from gateway.store.database import connect_writer
from gateway.store.migrations import migrate

NOON = 1_796_040_000_000
"""2026-11-30, 12:00 UTC, in milliseconds."""

DAY = "2026-11-30"


def began(**fields: Any) -> Began:
    usual: dict[str, Any] = {"id": new_row_id(), "at": NOON, "day": DAY, "key": "alice"}
    return Began(**usual | fields)


def row(**fields: Any) -> LedgerRow:
    usual: dict[str, Any] = {
        "id": new_row_id(),
        "at": NOON,
        "day": DAY,
        "key": "alice",
        "team": "web",
        "model": "fitten-code",
        "route": "chat",
        "status": 200,
        "prompt_tokens": 25,
        "completion_tokens": 3,
        "usage_source": "upstream",
        "duration_ms": 40,
    }
    return LedgerRow(**usual | fields)


STORED = {"key_id": "a" * 12, "team_id": "b" * 12, "source": "store"}
"""Fields of a row of a key made at run time."""


class Books:
    """A database with its spool folder; `transfer` moves everything."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.path = path
        self.folder = spool_folder(path)
        self.options = options
        self.folder.mkdir(exist_ok=True)
        self.connection = connect_writer(path, busy=0.1)
        migrate(self.connection, path, now=NOON)
        self.mover = self.new_transfer()

    def new_transfer(self) -> SpoolTransfer:
        return SpoolTransfer(
            self.connection,
            self.folder,
            now=lambda: NOON,
            day_of=lambda _: DAY,
            **self.options,
        )

    def spool(self, **options: Any) -> Spool:
        return Spool(self.folder, "test", **options)

    def add_stored_key(self, name: str = "alice", team: str = "web") -> None:
        """Add the key of `STORED` and its team, as the admin API does."""
        for text, values in (
            (
                "INSERT INTO key (id, kind, source, name, created_at) "
                "VALUES (?, 'api', 'store', ?, ?)",
                (STORED["key_id"], name, NOON),
            ),
            (
                "INSERT INTO team (id, source, name, created_at) VALUES (?, 'store', ?, ?)",
                (STORED["team_id"], team, NOON),
            ),
        ):
            self.connection.execute(text, values)

    def transfer(self) -> None:
        while self.mover.transfer():
            pass

    def select(self, text: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(text).fetchall()

    def one(self, text: str) -> Any:
        return self.connection.execute(text).fetchone()[0]

    def balance(self) -> None:
        """Check that the sums of all rows are those of the roll-up."""
        names = "sum(prompt_tokens), sum(completion_tokens), sum(duration_ms)"
        (rows,) = self.select(f"SELECT count(*), {names} FROM request")
        (days,) = self.select(f"SELECT sum(requests) + sum(refused), {names} FROM usage_day")
        assert rows[0] == (days[0] or 0)
        assert rows[1:] == days[1:]


@contextlib.contextmanager
def books(path: Path, **options: Any) -> Iterator[Books]:
    opened = Books(path, **options)
    try:
        yield opened
    finally:
        opened.connection.close()


def held_by_another(path: Path) -> sqlite3.Connection:
    """A connection that holds the write lock of a database."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other
