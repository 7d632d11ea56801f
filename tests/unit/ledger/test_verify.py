"""A check finds each sum that is not that of its rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.ledger.batch import SUMS, BatchWriter
from gateway.ledger.queries import reading
from gateway.ledger.retention import DAY_MS, delete_old_rows
from gateway.ledger.row import ENDS
from gateway.ledger.verify import damage, differing_days
from tests.unit.ledger.support import DAY, NOON, Books, books, row


def fill(ledger: Books) -> None:
    rows = [row(ended=end, first_ms=n % 3 or None) for n, end in enumerate(ENDS)]
    rows += [row(refused=True, ended="rate_limit_exceeded", usage_source="none")]
    rows += [row(day="2026-11-29", usage_source="estimated", reasoning_tokens=4)]
    lines: list[Any] = [("p", one) for one in rows]
    BatchWriter(ledger.connection).write(lines, {}, now=NOON)


def differing(ledger: Books) -> list[str]:
    with reading(ledger.path) as connection:
        return differing_days(connection)


def test_sums_made_from_rows_are_the_kept_ones(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        fill(ledger)
        assert differing(ledger) == []
        assert damage(ledger.connection) == []


@pytest.mark.parametrize("name", SUMS)
def test_a_sum_that_is_wrong_is_found(tmp_path: Path, name: str) -> None:
    with books(tmp_path / "team.db") as ledger:
        fill(ledger)
        ledger.connection.execute(f"UPDATE usage_day SET {name} = {name} + 1 WHERE day = '{DAY}'")
        assert differing(ledger) == [DAY]


@pytest.mark.parametrize("table", ["request", "usage_day"])
def test_a_row_or_a_sum_that_is_missing_is_found(tmp_path: Path, table: str) -> None:
    with books(tmp_path / "team.db") as ledger:
        fill(ledger)
        ledger.connection.execute(f"DELETE FROM {table} WHERE day = '2026-11-29'")
        assert differing(ledger) == ["2026-11-29"]


def test_days_of_which_rows_were_deleted_are_no_mistake(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        fill(ledger)
        assert delete_old_rows(ledger.connection, now=NOON + 91 * DAY_MS, keep_days=90) > 0
        assert differing(ledger) == []


def test_a_damaged_file_is_found(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        fill(ledger)
        ledger.connection.execute("PRAGMA writable_schema = ON")
        ledger.connection.execute(
            "UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master"
            " WHERE name = 'team') WHERE name = 'request_at'"
        )
    with reading(ledger.path) as connection:
        assert damage(connection) != []
