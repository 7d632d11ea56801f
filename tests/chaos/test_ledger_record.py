"""The record of the ledger finds what is wrong in the database that a run has left."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from chaos.records import ledger
from gateway.ledger.batch import BatchWriter
from tests.unit.ledger.support import began, books, row


def database(folder: Path, *changes: str) -> Path:
    """Return a database with two rows, after these changes."""
    path = folder / "team.db"
    lines = [row(request_id="a", prompt_tokens=5, completion_tokens=2), row(request_id="b")]
    with books(path) as written:
        BatchWriter(written.connection).write([("p", line) for line in lines], {}, now=1)
        if "begun" in changes:
            BatchWriter(written.connection).write([("p", began())], {}, now=1)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for change in changes:
            if change != "begun":
                connection.execute(change)
    return path


def test_rows_and_sums_agree(tmp_path: Path) -> None:
    path = database(tmp_path)
    found = ledger.read(path, {})
    counted = found.counted()
    assert counted["requests_per_month"] == 2
    assert counted["tokens_per_month"] >= 7
    assert {tag: len(rows) for tag, rows in found.rows.items()} == {"a": 1, "b": 1}
    assert ledger.read(path, counted).differences() == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DELETE FROM request WHERE request_id = 'a'", "the sums of"),
        ("UPDATE usage_day SET prompt_tokens = prompt_tokens + 1", "prompt_tokens"),
        ("INSERT INTO lost VALUES ('2026-11-28', 'alice', 3)", "3 rows are lost"),
        ("begun", "1 requests are open for ever"),
    ],
)
def test_what_differs_is_reported(tmp_path: Path, change: str, said: str) -> None:
    faults = ledger.read(database(tmp_path, change), {}).differences()
    assert any(said in fault for fault in faults), faults


def test_another_runs_ledger_is_removed(tmp_path: Path) -> None:
    path = database(tmp_path)
    spool = tmp_path / "team.db.spool"
    spool.mkdir(exist_ok=True)
    (spool / "main-1.000001.jsonl").write_text("{}")
    ledger.remove(path)
    assert not path.exists()
    assert list(spool.iterdir()) == []
