"""The SQL of tables, rows and sums has nothing that SQLite alone understands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from gateway.ledger.queries import Group, LedgerFilter, lost_rows, requests, usage
from gateway.ledger.retention import DAY_MS, delete_old_buckets, delete_old_rows
from gateway.ledger.row import LostRows, encode_line
from gateway.ledger.seeds import read_seeds
from gateway.ledger.verify import differing_days
from gateway.store.migrations import STEPS
from tests.unit.ledger.support import DAY, NOON, Books, began, books, row

# What stands in one place each, for another database to replace.
OWN = re.compile(r"PRAGMA |BEGIN IMMEDIATE$|VACUUM |SELECT 1 FROM sqlite_master |-- ")
# Words, functions and operators that PostgreSQL does not know, or means otherwise.
FOREIGN = re.compile(
    r"""\b(OR\s+(IGNORE|REPLACE|ABORT|FAIL|ROLLBACK)|REPLACE\s+INTO|AUTOINCREMENT|ROWID|GLOB|MATCH
    |REGEXP|INDEXED|NOTNULL|ISNULL|WITHOUT|ATTACH|HIDDEN|INTEGER|BLOB|REAL|LIKE|IS\s+NOT\s+\d
    |LIMIT\s+-1)\b
    |\b(ifnull|iif|total|group_concat|strftime|datetime|julianday|unixepoch|date|time|printf|format
    |json_\w+|instr|hex|quote|random|typeof|changes|last_insert_rowid|glob|likely|max|min)\s*\(
    [^()]*,|==|"|`|\[""",
    re.IGNORECASE | re.VERBOSE,
)


def statements(ledger: Books) -> list[str]:
    """Return what the ledger executes over the life of some rows, with their values in it."""
    found: list[str] = []
    ledger.connection.set_trace_callback(found.append)
    spool = ledger.spool()
    for text in ("alice", "bob"):
        spool.began(began(key=text, team="web"))
        spool.ended(row(key=text))
    spool.ended(row(at=NOON - 100 * DAY_MS, day="2026-08-22"))
    spool.ended(row(status=9999))
    spool._put(encode_line(LostRows(DAY, "alice", 2)) + b"\n")
    spool.close()  # so that the process has ended, and its open requests are crashed
    ledger.transfer()
    ledger.mover.tidy()
    every = LedgerFilter(
        since_day=DAY, until_day=DAY, key="alice", team="web", model="fitten-code", route="chat"
    )
    for where in (None, every, LedgerFilter(key="")):
        for by in ((), *((name,) for name in get_args(Group)), get_args(Group)):
            usage(ledger.connection, by, where)
        requests(ledger.connection, where)
        lost_rows(ledger.connection, where)
    requests(ledger.connection, LedgerFilter(since=1, until=NOON, failed=True))
    read_seeds(ledger.connection, now=NOON, day_of=lambda _: DAY)
    assert differing_days(ledger.connection) == []
    delete_old_rows(ledger.connection, now=NOON, keep_days=90)
    delete_old_buckets(ledger.connection, now=NOON)
    ledger.connection.set_trace_callback(None)
    return [*(text.replace("{without_rowid}", "") for step in STEPS for text in step), *found]


def test_every_statement_is_of_both_databases(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        found = [text for text in statements(ledger) if not OWN.match(text)]
    verbs = {text.split()[0] for text in found}
    of_steps = {"CREATE", "ALTER", "DROP"}
    assert verbs == {*of_steps, "INSERT", "SELECT", "DELETE", "COMMIT", "ROLLBACK"}
    without_values = [re.sub(r"'(?:[^']|'')*'", "''", text) for text in found]
    assert [text for text in without_values if FOREIGN.search(text)] == []
    assert FOREIGN.search("SELECT ifnull(a, 0)")
