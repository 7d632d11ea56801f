"""Old rows go, a few at a time; sums and newer rows stay."""

from __future__ import annotations

from pathlib import Path

from gateway.ledger.batch import BatchWriter
from gateway.ledger.retention import DAY_MS, delete_old_buckets, delete_old_rows, give_back_space
from tests.unit.ledger.support import NOON, books, row


def test_the_oldest_rows_go_in_small_batches_and_their_days_are_noted(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        old = [row(at=NOON - 91 * DAY_MS + n, day="2026-08-31") for n in range(25)]
        older = [row(at=NOON - 92 * DAY_MS, day="2026-08-30") for _ in range(5)]
        new = [row(at=NOON - 89 * DAY_MS, day="2026-09-02") for _ in range(10)]
        lines = [("p", one) for one in [*new, *old, *older]]
        BatchWriter(ledger.connection).write(lines, {}, now=NOON)

        def delete() -> int:
            return delete_old_rows(ledger.connection, now=NOON, keep_days=90, count=20)

        assert delete() == 20
        assert ledger.one("SELECT count(*) FROM request WHERE day = '2026-08-30'") == 0
        assert [delete(), delete()] == [10, 0]
        assert ledger.select("SELECT day, count(*) FROM request GROUP BY day") == [
            ("2026-09-02", 10)
        ]
        assert ledger.select("SELECT day, requests FROM usage_day ORDER BY day") == [
            ("2026-08-30", 5),
            ("2026-08-31", 25),
            ("2026-09-02", 10),
        ]
        days = ledger.select("SELECT day FROM partial_day ORDER BY day")
        assert days == [("2026-08-30",), ("2026-08-31",)]


def test_sums_of_five_minutes_are_kept_as_long_as_a_limit_of_a_week_needs(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        times = [NOON, NOON - 7 * DAY_MS, NOON - 8 * DAY_MS]
        BatchWriter(ledger.connection).write([("p", row(at=at)) for at in times], {}, now=NOON)
        delete_old_buckets(ledger.connection, now=NOON)
        assert ledger.select("SELECT at FROM usage_recent ORDER BY at DESC") == [
            (NOON,),
            (NOON - 7 * DAY_MS,),
        ]


def test_space_of_deleted_rows_is_given_back(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        lines = [("p", row(at=NOON - 91 * DAY_MS, request_id="x" * 200)) for _ in range(500)]
        BatchWriter(ledger.connection).write(lines, {}, now=NOON)
        before = ledger.one("PRAGMA page_count")
        delete_old_rows(ledger.connection, now=NOON, keep_days=90)
        give_back_space(ledger.connection)
        assert ledger.one("PRAGMA page_count") < before / 2
