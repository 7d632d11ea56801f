"""Processes are killed at any moment, and the ledger has each request once."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from gateway.ledger.service import LedgerService

ROOT = Path(__file__).parents[2]

KILLS = int(os.environ.get("LEDGER_KILLS", "6"))

# Writes rows as fast as it can, and then each id to a file of its own: an id that is there was
# in the spool before. One of ten requests stays open.
WRITER = """
import os, pathlib, sys, time
from gateway.ledger.row import Began, LedgerRow, new_row_id
from gateway.ledger.service import LedgerService
from gateway.ledger.spool_files import spool_folder
from gateway.ledger.spool import Spool

database, books = pathlib.Path(sys.argv[1]), sys.argv[2]
if sys.argv[3] == "service":
    service = LedgerService(database)
    service.prepare()
    service.start()
book = os.open(books, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
spool = Spool(spool_folder(database), "test", file_size=40_000)
count = 0
while True:
    now = time.time_ns() // 1_000_000
    fields = {"id": new_row_id(), "at": now, "day": "2026-11-30", "key": f"key-{count % 7}"}
    spool.began(Began(**fields))
    if count % 10:
        spool.ended(LedgerRow(**fields, prompt_tokens=3, completion_tokens=count % 5))
    os.write(book, f"{fields['id']} {count % 10 and 3 + count % 5}\\n".encode())
    count += 1
    if count % 20 == 0:
        time.sleep(0.02)
"""


def start(database: Path, book: Path, role: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(database), str(book), role], cwd=ROOT
    )


def test_every_request_is_one_row_although_its_process_and_the_writer_are_killed(
    tmp_path: Path,
) -> None:
    chance = random.Random(7)
    database = tmp_path / "team.db"
    books = [tmp_path / f"book-{number}" for number in range(KILLS)]
    for first, second in zip(books[::2], books[1::2], strict=True):
        running = [start(database, first, "service"), start(database, second, "worker")]
        while not all(book.exists() and book.stat().st_size > 4000 for book in (first, second)):
            time.sleep(0.01)
        time.sleep(chance.uniform(0.0, 0.3))
        for process in chance.sample(running, 2):
            process.send_signal(signal.SIGKILL)
            process.wait(60)
    LedgerService(database).prepare(longest=120.0)
    noted: dict[str, int] = {}
    for book in books:
        noted |= {row: int(tokens) for row, tokens in map(str.split, whole_lines(book))}
    with contextlib.closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(
            "SELECT id, prompt_tokens + completion_tokens, ended FROM request"
        ).fetchall()
        found = {row_id: tokens for row_id, tokens, _ in rows}
        assert noted.items() <= found.items()
        # At most one more of each process: the one between the spool and the book.
        assert len(found) - len(noted) <= KILLS
        sums = connection.execute(
            "SELECT sum(requests), sum(failed), sum(prompt_tokens + completion_tokens),"
            " (SELECT sum(tokens) FROM usage_recent) FROM usage_day"
        ).fetchone()
        crashed = sum(ended == "crashed" for *_, ended in rows)
        tokens = sum(found.values())
        assert sums == (len(rows), crashed, tokens, tokens)
        assert connection.execute("SELECT count(*) FROM began").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM lost").fetchone() == (0,)
    assert list((tmp_path / "team.db.spool").glob("*.jsonl")) == []


def whole_lines(book: Path) -> list[str]:
    return book.read_text("ascii").split("\n")[:-1]
