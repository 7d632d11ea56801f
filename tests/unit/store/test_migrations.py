"""Steps are applied once and all together; a newer database is refused, an older one saved."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.store.database import StoreUnusable, connect_writer
from gateway.store.migrations import STEPS, back_up, migrate, schema_step
from tests.unit.ledger.support import NOON, books

ROOT = Path(__file__).parents[3]

NEXT = (*STEPS, ("ALTER TABLE team ADD COLUMN note text", "CREATE TABLE added (x bigint)"))


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(connect_writer(tmp_path / "team.db")) as opened:
        yield opened


def tables(connection: sqlite3.Connection) -> set[str]:
    found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    return {name for (name,) in found.fetchall()}


def test_an_empty_database_gets_every_table_and_no_backup(
    connection: sqlite3.Connection, tmp_path: Path
) -> None:
    assert schema_step(connection) == 0
    assert migrate(connection, tmp_path / "team.db", now=NOON) == (len(STEPS), None)
    assert {"request", "usage_day", "key", "team", "spool_position"} <= tables(connection)
    assert migrate(connection, tmp_path / "team.db", now=NOON) == (0, None)
    assert not list(tmp_path.glob("*.backup"))


def test_an_older_database_is_saved_whole_before_it_is_changed(
    connection: sqlite3.Connection, tmp_path: Path
) -> None:
    path = tmp_path / "team.db"
    migrate(connection, path, now=NOON)
    connection.execute("INSERT INTO team VALUES ('t', 'web', 1)")
    assert migrate(connection, path, now=NOON, steps=NEXT) == (1, tmp_path / saved(1))
    assert "added" in tables(connection)
    assert connection.execute("SELECT note FROM team").fetchall() == [(None,)]
    assert (tmp_path / saved(1)).stat().st_mode & 0o777 == 0o600
    with contextlib.closing(connect_writer(tmp_path / saved(1))) as old:
        assert schema_step(old) == 1
        assert old.execute("SELECT name FROM team").fetchall() == [("web",)]
    assert not list(tmp_path.glob("*.new"))


def saved(step: int) -> str:
    return f"team.db.schema-{step}.backup"


def test_a_step_that_fails_changes_nothing(connection: sqlite3.Connection, tmp_path: Path) -> None:
    migrate(connection, tmp_path / "team.db", now=NOON)
    broken = (*STEPS, ("CREATE TABLE added (x bigint)", "no SQL at all"))
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, tmp_path / "team.db", now=NOON, steps=broken)
    assert schema_step(connection) == 1
    assert "added" not in tables(connection)
    assert not connection.in_transaction


def test_a_newer_database_is_refused_and_left_alone(
    connection: sqlite3.Connection, tmp_path: Path
) -> None:
    migrate(connection, tmp_path / "team.db", now=NOON, steps=NEXT)
    before = (tmp_path / "team.db").read_bytes()
    with pytest.raises(StoreUnusable, match="schema 2, and this version knows schema 1"):
        migrate(connection, tmp_path / "team.db", now=NOON)
    assert (tmp_path / "team.db").read_bytes() == before


MIGRATE = """
import sys, pathlib
from gateway.store.database import connect_writer
from gateway.store.migrations import migrate

path = pathlib.Path(sys.argv[1])
connection = connect_writer(path)
print("ready", flush=True)
sys.stdin.readline()
print(migrate(connection, path, now=1)[0], flush=True)
"""


def test_of_two_processes_that_start_at_once_one_makes_the_tables(tmp_path: Path) -> None:
    path = tmp_path / "team.db"
    starts = [
        subprocess.Popen(
            [sys.executable, "-c", MIGRATE, str(path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in starts:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in starts:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    done = sorted(int(process.communicate(timeout=60)[0]) for process in starts)
    assert done == [0, len(STEPS)]


def test_a_backup_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        ledger.connection.execute("BEGIN IMMEDIATE")  # VACUUM cannot run in a transaction
        with pytest.raises(sqlite3.OperationalError):
            back_up(ledger.connection, tmp_path / "copy.db")
        ledger.connection.execute("ROLLBACK")
        assert not list(tmp_path.glob("copy*"))
