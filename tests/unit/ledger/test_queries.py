"""Sums and rows are read as they were written, whatever they are grouped by."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from pathlib import Path
from typing import Any, get_args

import pytest

from gateway.ledger.batch import SUMS, BatchWriter
from gateway.ledger.queries import Group, LedgerFilter, lost_rows, reading, requests, usage
from gateway.ledger.row import LedgerRow, LostRows
from gateway.store.database import StoreUnusable
from gateway.store.migrations import STEPS
from tests.unit.ledger.support import DAY, NOON, Books, books, row

HOUR = 3_600_000
ROWS = [
    row(model="a"),
    row(at=NOON + 1, model="b", ended="upstream_error", cause="upstream_error", status=502),
    row(at=NOON + 2, key="bob", team="", route="fim"),
    row(at=NOON - 30 * HOUR, day="2026-11-29", key="bob", ended="client_closed_request"),
    row(at=NOON + 3, key="", team="", refused=True, prompt_tokens=0, completion_tokens=0),
]


def fill(ledger: Books, rows: list[LedgerRow] | None = None) -> None:
    lines: list[Any] = [("p", one) for one in ROWS if rows is None] + [
        ("p", one) for one in rows or []
    ]
    BatchWriter(ledger.connection).write([*lines, ("p", LostRows(DAY, "bob", 2))], {}, now=NOON)


def test_sums_by_key_have_the_most_tokens_first(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        fill(ledger)
        with reading(ledger.path) as connection:
            rows = usage(connection, ("key",))
            assert [(r["key"], r["requests"], r["failed"], r["aborted"]) for r in rows] == [
                ("alice", 2, 1, 0),
                ("bob", 2, 0, 1),
                ("", 0, 0, 0),
            ]
            assert [(r["refused"], r["total_tokens"]) for r in rows] == [(0, 56), (0, 56), (1, 0)]
            assert [r["day"] for r in usage(connection, ("day", "key"))] == [
                *["2026-11-29"],
                *[DAY, DAY, DAY],
            ]


def test_the_sums_of_every_grouping_are_equal(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        fill(ledger)
        names = get_args(Group)
        with reading(ledger.path) as connection:
            (whole,) = usage(connection)
            for size in range(1, len(names) + 1):
                for by in itertools.combinations(names, size):
                    rows = usage(connection, by)
                    assert {n: sum(r[n] for r in rows) for n in SUMS} == {n: whole[n] for n in SUMS}
            assert whole["requests"] + whole["refused"] == len(requests(connection)) == len(ROWS)


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (LedgerFilter(), [4, 2, 1, 0, 3]),
        (LedgerFilter(key="bob"), [2, 3]),
        (LedgerFilter(key=""), [4]),
        (LedgerFilter(key="nobody"), []),
        (LedgerFilter(team="web"), [1, 0, 3]),
        (LedgerFilter(team=""), [4, 2]),
        (LedgerFilter(model="b"), [1]),
        (LedgerFilter(route="fim"), [2]),
        (LedgerFilter(since_day=DAY), [4, 2, 1, 0]),
        (LedgerFilter(until_day="2026-11-29"), [3]),
        (LedgerFilter(since=NOON + 1, until=NOON + 3), [2, 1]),
        (LedgerFilter(failed=True), [1, 3]),
        (LedgerFilter(key="alice", since=NOON, model="a"), [0]),
    ],
    ids=str,
)
def test_rows_are_chosen_and_the_newest_come_first(
    tmp_path: Path, where: LedgerFilter, found: list[int]
) -> None:
    with books(tmp_path / "team.db") as ledger:
        fill(ledger)
        with reading(ledger.path) as connection:
            ids = [one["id"] for one in requests(connection, where)]
            assert ids == [ROWS[index].id for index in found]
            if where.since is None and not where.failed:  # which sums do not know
                (sums,) = usage(connection, (), where)
                assert sums["requests"] + sums["refused"] == len(found)


def test_a_row_has_all_that_was_written(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        fill(ledger)
        with reading(ledger.path) as connection:
            (first,) = requests(connection, LedgerFilter(model="b"))
            assert first.keys() == {*LedgerRow.__struct_fields__} - {"source", "key_id", "team_id"}
            assert all(first[name] == getattr(ROWS[1], name) for name in first)
            assert len(requests(connection, limit=2)) == 2


def test_lost_rows_are_counted_by_day_and_key(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        fill(ledger)
        with reading(ledger.path) as connection:
            chosen = [
                LedgerFilter(),
                LedgerFilter(key="bob", since_day=DAY, until_day=DAY),
                LedgerFilter(key="alice"),
                LedgerFilter(until_day="2026-11-29"),
            ]
            assert [lost_rows(connection, where) for where in chosen] == [2, 2, 0, 0]


def test_what_is_read_at_once_is_one_view(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        fill(ledger)
        with reading(ledger.path) as connection:
            before = usage(connection)
            fill(ledger, [row(), row()])
            assert usage(connection) == before
            assert len(requests(connection)) == len(ROWS)


def test_a_query_that_takes_too_long_is_interrupted(tmp_path: Path) -> None:
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x FROM n) SELECT count(*) FROM n"
    with books(tmp_path / "team.db") as ledger:
        with (
            pytest.raises(StoreUnusable, match=r"took more than 0\.05 seconds"),
            reading(ledger.path, longest=0.05) as connection,
        ):
            connection.execute(endless).fetchone()
        with pytest.raises(sqlite3.OperationalError), reading(ledger.path) as connection:
            connection.execute("no SQL")


@pytest.mark.parametrize(
    ("step", "text"), [(len(STEPS) + 1, "use the newer version"), (len(STEPS) - 1, "db migrate")]
)
def test_another_schema_is_refused(tmp_path: Path, step: int, text: str) -> None:
    path = tmp_path / "team.db"
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE schema_version (step bigint, at bigint)")
        connection.execute("INSERT INTO schema_version VALUES (?, 1)", (step,))
    with pytest.raises(StoreUnusable, match=text), reading(path):
        pass


def test_the_rows_of_a_key_are_found_by_an_index(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        fill(ledger)
        with reading(ledger.path) as connection:
            seen: list[str] = []
            connection.set_trace_callback(seen.append)
            requests(connection, LedgerFilter(key="alice", since=NOON))
            connection.set_trace_callback(None)
            plan = connection.execute(f"EXPLAIN QUERY PLAN {seen[0]}").fetchall()
            assert any("request_key_at" in text for *_, text in plan)


def test_pages_by_a_cursor_have_each_row_once_in_the_order_of_one_page(tmp_path: Path) -> None:
    """Several rows have the same time; the id decides among them."""
    rows = [row(at=NOON + number // 3, key=f"k{number % 2}") for number in range(20)]
    with books(tmp_path / "team.db") as ledger:
        fill(ledger, rows)
        with reading(ledger.path) as connection:
            whole = [one["id"] for one in requests(connection, limit=50)]
            assert len(set(whole)) == 20
            for limit in (1, 3, 7):
                found: list[str] = []
                after = None
                while page := requests(connection, limit=limit, after=after):
                    found += [one["id"] for one in page]
                    after = (page[-1]["at"], page[-1]["id"])
                assert found == whole
            mine = requests(connection, LedgerFilter(key="k1"), after=(NOON + 2, "f" * 32))
            assert len(mine) == len([r for r in rows if r.key == "k1" and r.at <= NOON + 2])


def test_rows_are_found_by_what_is_known_of_them(tmp_path: Path) -> None:
    rows = [
        row(request_id="req_1", status=200, account="a"),
        row(request_id="req_2", status=502, cause="upstream_error", ended="upstream_error"),
        row(request_id="req_2", status=429, cause="rate_limit_exceeded", refused=True),
    ]
    cases: list[tuple[dict[str, Any], int]] = [
        ({"id": rows[0].id}, 1),
        ({"request_id": "req_2"}, 2),
        ({"status": 429}, 1),
        ({"cause": "upstream_error"}, 1),
        ({"account": "a"}, 1),
        ({"request_id": "req_2", "status": 200}, 0),
    ]
    with books(tmp_path / "team.db") as ledger:
        fill(ledger, rows)
        (key_id,) = ledger.select("SELECT DISTINCT key_id FROM request")[0]
        with reading(ledger.path) as connection:
            for chosen, count in [*cases, ({"key": key_id}, 3)]:
                assert len(requests(connection, LedgerFilter(**chosen))) == count, chosen


def test_a_limit_bounds_the_sums(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        fill(ledger)
        with reading(ledger.path) as connection:
            assert len(usage(connection, ("key",), limit=2)) == 2
            assert len(usage(connection, ("key",), limit=9)) == 3
