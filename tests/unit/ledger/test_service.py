"""The thread of the writer: what it does when the database fails, and when it is stopped."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.ledger.retention import DAY_MS, delete_old_rows
from gateway.ledger.service import LedgerPolicy, LedgerService, local_day
from gateway.ledger.spool import Spool
from gateway.store.database import StoreUnusable, connect_writer
from gateway.store.migrations import STEPS
from tests.unit.ledger.support import DAY, NOON, held_by_another, row


def service(path: Path, policy: LedgerPolicy | None = None) -> LedgerService:
    return LedgerService(path, policy, now=lambda: NOON, day_of=lambda _: DAY)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "team.db"


@contextlib.contextmanager
def running(path: Path, policy: LedgerPolicy | None = None) -> Iterator[LedgerService]:
    running = service(path, policy)
    running.prepare()
    running.start()
    try:
        yield running
    finally:
        running.stop(20.0)


def count(path: Path, table: str = "request") -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_was_written_before_a_stop_is_in_the_database(path: Path) -> None:
    with running(path) as writer:
        spool = Spool(writer.spool_folder, "main")
        for _ in range(1000):
            spool.ended(row())
        spool.close()
        assert writer.stop(20.0)
        assert count(path) == 1000
        assert list(writer.spool_folder.glob("*.jsonl")) == []


def test_rows_arrive_while_it_runs(path: Path) -> None:
    with running(path) as writer:
        spool = Spool(writer.spool_folder, "main")
        spool.ended(row())
        until(lambda: count(path) == 1)
        assert writer.problem is None
        spool.close()


def test_a_start_counts_what_former_processes_left(path: Path) -> None:
    first = service(path)
    assert first.prepare().periods == ()
    spool = Spool(first.spool_folder, "main")
    spool.ended(row())
    spool.close()
    (use,) = service(path).prepare().periods
    assert (use.key, use.day_requests, use.day_tokens) == ("alice", 1, 28)


def test_a_locked_database_costs_one_log_line_and_no_row(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.ledger.service.connect_writer", impatient)
    monkeypatch.setattr("gateway.ledger.service._FIRST_RETRY", 0.05)
    with capture_logs() as logs, running(path) as writer:
        spool = Spool(writer.spool_folder, "main")
        with contextlib.closing(held_by_another(path)):
            spool.ended(row())
            until(lambda: writer.problem is not None)
            for _ in range(300):
                spool.ended(row())
            time.sleep(0.3)
        until(lambda: count(path) == 301)
        until(lambda: writer.problem is None)
        spool.close()
    events = [line["event"] for line in logs if line["event"] != "store_migrated"]
    assert events == ["ledger_not_written", "ledger_written"]
    assert logs[1]["reason"] == "SQLITE_BUSY"


def impatient(path: Path, **_: Any) -> sqlite3.Connection:
    return connect_writer(path, busy=0.01)


def test_a_database_that_cannot_be_opened_stops_neither_the_start_nor_the_spool(
    path: Path,
) -> None:
    path.mkdir(parents=True)
    with capture_logs() as logs:
        writer = service(path)
        assert writer.prepare().periods == ()
        writer.start()
        spool = Spool(writer.spool_folder, "main")
        spool.ended(row())
        spool.close()
        assert writer.stop(2.0)
    assert [line["event"] for line in logs] == ["ledger_not_written"]
    assert writer.problem is not None
    path.rmdir()
    (use,) = service(path).prepare().periods
    assert use.day_requests == 1


def test_a_newer_database_is_refused_at_the_start(path: Path) -> None:
    service(path).prepare()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO schema_version VALUES (?, 1)", (len(STEPS) + 1,))
    with pytest.raises(StoreUnusable, match="use the newer version"):
        service(path).prepare()


def test_of_two_services_by_mistake_one_writes_all_lines(path: Path) -> None:
    with capture_logs() as logs, running(path) as first:
        second = service(path)
        assert second.prepare().day == DAY  # it reads what there is
        second.start()
        until(lambda: any(line["event"] == "ledger_has_other_writer" for line in logs))
        spool = Spool(second.spool_folder, "main")
        spool.ended(row())
        until(lambda: count(path) == 1)
        spool.close()
        assert second.stop(20.0)
        assert first.problem is None


def test_old_rows_are_deleted_and_a_reload_can_keep_sums_only(path: Path) -> None:
    writer = service(path)
    writer.prepare()
    spool = Spool(writer.spool_folder, "main")
    for _ in range(1100):
        spool.ended(row(at=NOON - 10 * DAY_MS, day="2026-11-20"))
    spool.ended(row())
    spool.close()
    with running(path, LedgerPolicy(keep_days=9)) as writer:
        until(lambda: count(path) == 1)
        assert count(path, "partial_day") == 1
        writer.set_policy(LedgerPolicy(detail="days"))
        spool = Spool(writer.spool_folder, "main")
        spool.ended(row(key="later"))
        spool.close()
        until(lambda: count(path, "key") == 2)
        assert count(path) == 1


def test_rows_arrive_between_the_batches_of_old_ones_that_are_deleted(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for the whole backlog: each row is there before the next batch is deleted."""
    prepared = service(path)
    prepared.prepare()
    spool = Spool(prepared.spool_folder, "main")
    for _ in range(2600):
        spool.ended(row(at=NOON - 10 * DAY_MS, day="2026-11-20"))
    spool.close()
    arrived: list[int] = []
    writing = Spool(prepared.spool_folder, "other")

    def delete(connection: sqlite3.Connection, **options: Any) -> int:
        new = "SELECT count(*) FROM request WHERE key_id IN (SELECT id FROM key WHERE name = 'new')"
        arrived.append(connection.execute(new).fetchone()[0])
        deleted = delete_old_rows(connection, **options)
        assert deleted <= 500
        for _ in range(20):
            writing.ended(row(key="new"))
        return deleted

    monkeypatch.setattr("gateway.ledger.service.delete_old_rows", delete)
    with running(path, LedgerPolicy(keep_days=9)):
        until(lambda: count(path) == 20 * len(arrived) and len(arrived) == 7)
    writing.close()
    assert arrived == [20 * number for number in range(7)]


def test_the_default_day_is_that_of_the_system() -> None:
    at = time.time_ns() // 1_000_000
    assert local_day(at) == time.strftime("%Y-%m-%d", time.localtime(at / 1000))
