"""The ledger is read beside the event loop, and a fault is an error that says so."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import Unavailable
from gateway.ledger import queries
from gateway.ledger.reader import LedgerReader
from tests.unit.ledger.support import books
from tests.waiting import LONGEST_WAIT, eventually


def count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM request").fetchone()[0])


async def test_queries_wait_for_their_turn_and_the_event_loop_does_not(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        reader = LedgerReader(ledger.path)
        go_on = threading.Event()
        began: list[int] = []

        def held(connection: sqlite3.Connection) -> int:
            began.append(1)
            assert go_on.wait(LONGEST_WAIT)
            return count(connection)

        tasks = [asyncio.create_task(reader.read(held)) for _ in range(5)]
        await eventually(lambda: len(began) == 2)
        assert len(began) == 2
        go_on.set()
        assert await asyncio.gather(*tasks) == [0] * 5


async def test_a_database_that_is_not_there_or_broken_is_an_error(tmp_path: Path) -> None:
    reader = LedgerReader(tmp_path / "team.db")
    with pytest.raises(Unavailable, match="does not exist") as caught:
        await reader.read(count)
    assert (caught.value.status, caught.value.code) == (503, "store_unavailable")
    (tmp_path / "team.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(Unavailable, match="the log of the gateway says why"):
        await reader.read(count)


async def test_a_query_that_takes_too_long_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    within: Any = queries.reading
    monkeypatch.setitem(within.__wrapped__.__kwdefaults__, "longest", 0.01)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    with books(tmp_path / "team.db") as ledger, pytest.raises(Unavailable, match="took more than"):
        await LedgerReader(ledger.path).read(lambda c: c.execute(endless).fetchone())
