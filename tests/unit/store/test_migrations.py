"""Steps are applied once and all together; a newer database is refused, an older one saved."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.ledger.batch import BatchWriter
from gateway.ledger.queries import usage
from gateway.limits.names import LIMIT_NAMES
from gateway.store.database import StoreUnusable, connect_writer
from gateway.store.migrations import STEPS, back_up, migrate, schema_step
from tests.unit.ledger.support import NOON, books, row

ROOT = Path(__file__).parents[3]

NEXT = (*STEPS, ("ALTER TABLE team ADD COLUMN color text", "CREATE TABLE added (x bigint)"))
LAST = len(STEPS)


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
    connection.execute("INSERT INTO team (id, name, created_at) VALUES ('t', 'web', 1)")
    assert migrate(connection, path, now=NOON, steps=NEXT) == (1, tmp_path / saved(LAST))
    assert "added" in tables(connection)
    assert connection.execute("SELECT color FROM team").fetchall() == [(None,)]
    assert (tmp_path / saved(LAST)).stat().st_mode & 0o777 == 0o600
    with contextlib.closing(connect_writer(tmp_path / saved(LAST))) as old:
        assert schema_step(old) == LAST
        assert old.execute("SELECT name FROM team").fetchall() == [("web",)]
    assert not list(tmp_path.glob("*.new"))


def saved(step: int) -> str:
    return f"team.db.schema-{step}.backup"


def test_a_step_that_fails_changes_nothing(connection: sqlite3.Connection, tmp_path: Path) -> None:
    migrate(connection, tmp_path / "team.db", now=NOON)
    broken = (*STEPS, ("CREATE TABLE added (x bigint)", "no SQL at all"))
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, tmp_path / "team.db", now=NOON, steps=broken)
    assert schema_step(connection) == LAST
    assert "added" not in tables(connection)
    assert not connection.in_transaction


def test_a_newer_database_is_refused_and_left_alone(
    connection: sqlite3.Connection, tmp_path: Path
) -> None:
    migrate(connection, tmp_path / "team.db", now=NOON, steps=NEXT)
    before = (tmp_path / "team.db").read_bytes()
    text = f"schema {LAST + 1}, and this version knows schema {LAST}"
    with pytest.raises(StoreUnusable, match=text):
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


KEY = "INSERT INTO key (id, kind, source, name, created_at) VALUES (?, 'api', ?, ?, 5)"


def test_step_2_keeps_the_ledger_with_the_names_of_its_keys(
    connection: sqlite3.Connection, tmp_path: Path
) -> None:
    path = tmp_path / "team.db"
    migrate(connection, path, now=NOON, steps=STEPS[:1])
    connection.execute(KEY, ("a" * 12, "config", "alice"))
    connection.execute(KEY, ("b" * 12, "middleware", "alice"))
    connection.execute("INSERT INTO team VALUES (?, 'web', 7)", ("t" * 12,))
    columns = "id, request_id, at, day, key_id, team_id, model, route, stream, ended, refused"
    counts = "prompt_tokens, completion_tokens, reasoning_tokens, usage_source, queued_ms"
    connection.execute(
        f"INSERT INTO request ({columns}, {counts}, duration_ms, tries, account, node, bytes,"
        " client) VALUES ('r', '', 1, '2026-11-30', 'aaaaaaaaaaaa', 'tttttttttttt', 'm', 'chat',"
        " 0, 'complete', 0, 5, 6, 0, 'upstream', 0, 9, 1, '', '', 3, '')"
    )
    connection.execute(
        "INSERT INTO usage_day VALUES ('2026-11-30', 'aaaaaaaaaaaa', 'tttttttttttt', 'm', 'chat',"
        " 1, 0, 0, 0, 5, 6, 0, 0, 9, 0, 0)"
    )
    assert migrate(connection, path, now=NOON) == (LAST - 1, tmp_path / saved(1))
    named = connection.execute(
        "SELECT key.name, key.source, key.version, team.name, team.source, prompt_tokens "
        "FROM request AS r JOIN key ON key.id = r.key_id JOIN team ON team.id = r.team_id"
    )
    assert named.fetchall() == [("alice", "config", 0, "web", "config", 5)]
    assert usage(connection, ["key", "team"])[0]["prompt_tokens"] == 5
    assert connection.execute("SELECT count(*) FROM key").fetchone() == (2,)
    # The ledger goes on with the same ids.
    BatchWriter(connection).write([("p", row(key="alice", team="web"))], {}, now=NOON)
    assert connection.execute("SELECT DISTINCT key_id, team_id FROM request").fetchall() == [
        ("a" * 12, "t" * 12)
    ]


def test_a_name_is_of_one_key_of_a_kind_that_is_not_deleted(
    connection: sqlite3.Connection, tmp_path: Path
) -> None:
    migrate(connection, tmp_path / "team.db", now=NOON)
    connection.execute(KEY, ("a" * 12, "store", "alice"))
    connection.execute(KEY, ("b" * 12, "config", "alice"))
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute(KEY, ("c" * 12, "store", "alice"))
    connection.execute("UPDATE key SET deleted_at = 6 WHERE source = 'store'")
    connection.execute(KEY, ("c" * 12, "store", "alice"))


def test_every_limit_has_a_column_that_takes_no_negative_number(
    connection: sqlite3.Connection, tmp_path: Path
) -> None:
    migrate(connection, tmp_path / "team.db", now=NOON)
    connection.execute(KEY, ("a" * 12, "store", "alice"))
    connection.execute("INSERT INTO team (id, name, created_at) VALUES ('t', 'web', 1)")
    for table in ("key", "team"):
        for name in LIMIT_NAMES:
            with pytest.raises(sqlite3.IntegrityError):
                connection.execute(f"UPDATE {table} SET {name} = -1")
