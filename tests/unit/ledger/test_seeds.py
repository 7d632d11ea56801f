"""After a start the counters of limits begin with what was used before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.ledger.batch import RECENT_MS, Detail
from gateway.ledger.seeds import HOUR_MS, PeriodUse, RecentUse, read_seeds
from tests.unit.ledger.support import DAY, NOON, STORED, books, row

DAYS = 24 * HOUR_MS


@pytest.mark.parametrize("detail", ["rows", "days"])
def test_the_use_of_the_day_the_month_and_the_windows_is_read(
    tmp_path: Path, detail: Detail
) -> None:
    with books(tmp_path / "team.db", detail=detail) as ledger:
        spool = ledger.spool()
        rows: list[dict[str, Any]] = [
            {"at": NOON},
            {"at": NOON - 1, "team": "app"},
            {"at": NOON, "key": "bob", "team": ""},
            {"at": NOON, "refused": True, "prompt_tokens": 0, "completion_tokens": 0},
            {"at": NOON - 6 * HOUR_MS},
            {"at": NOON - 3 * DAYS, "day": "2026-11-27"},
            {"at": NOON - 20 * DAYS, "day": "2026-11-10"},
            {"at": NOON - 40 * DAYS, "day": "2026-10-21"},
        ]
        for fields in rows:
            spool.ended(row(**fields))
        ledger.transfer()
        seeds = read_seeds(ledger.connection, now=NOON, day_of=lambda _: "2026-11-30")
        assert (seeds.day, seeds.month) == ("2026-11-30", "2026-11")
        assert sorted(seeds.periods, key=lambda use: (use.key, use.team)) == [
            PeriodUse("alice", "app", 1, 28, 1, 28),
            PeriodUse("alice", "web", 2, 56, 4, 112),
            PeriodUse("bob", "", 1, 28, 1, 28),
        ]
        assert set(seeds.five_minutes) == {
            RecentUse("alice", "web", NOON, 28),
            RecentUse("alice", "app", NOON - RECENT_MS, 28),
            RecentUse("bob", "", NOON, 28),
        }
        assert set(seeds.hours) == {
            RecentUse("alice", "web", NOON, 28),
            RecentUse("alice", "app", NOON - HOUR_MS, 28),
            RecentUse("bob", "", NOON, 28),
            RecentUse("alice", "web", NOON - 6 * HOUR_MS, 28),
            RecentUse("alice", "web", NOON - 3 * DAYS, 28),
        }
        spool.close()


def test_keys_of_both_sources_count_in_a_team_of_the_configuration_by_its_name(
    tmp_path: Path,
) -> None:
    with books(tmp_path / "team.db") as ledger:
        ledger.add_stored_key("alice", "ops")
        spool = ledger.spool()
        for fields in ({"key": "ci"}, {**STORED, "team_id": ""}):
            spool.ended(row(**fields))
        ledger.transfer()
        seeds = read_seeds(ledger.connection, now=NOON, day_of=lambda _: DAY)
        assert sorted(seeds.periods, key=lambda use: use.key) == [
            PeriodUse("a" * 12, "web", 1, 28, 1, 28),
            PeriodUse("ci", "web", 1, 28, 1, 28),
        ]
        spool.close()


def test_an_empty_database_has_no_use(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        seeds = read_seeds(ledger.connection, now=NOON, day_of=lambda _: "2026-11-30")
        assert (seeds.periods, seeds.five_minutes, seeds.hours) == ((), (), ())


def test_a_key_made_at_run_time_is_counted_by_its_id_beside_one_of_the_same_name(
    tmp_path: Path,
) -> None:
    with books(tmp_path / "team.db") as ledger:
        ledger.add_stored_key("alice", "new web")
        spool = ledger.spool()
        for fields in ({}, STORED, {**STORED, "key": "alicia", "team": "renamed"}):
            spool.ended(row(**fields))
        ledger.transfer()
        seeds = read_seeds(ledger.connection, now=NOON, day_of=lambda _: DAY)
        assert sorted(seeds.periods, key=lambda use: use.key) == [
            PeriodUse("a" * 12, "b" * 12, 2, 56, 2, 56),
            PeriodUse("alice", "web", 1, 28, 1, 28),
        ]
        assert set(seeds.five_minutes) == {
            RecentUse("a" * 12, "b" * 12, NOON, 56),
            RecentUse("alice", "web", NOON, 28),
        }
        spool.close()
