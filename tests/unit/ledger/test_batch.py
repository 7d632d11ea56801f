"""Rows, sums and positions change together; each grouping has the same sum."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ledger.batch import SUMS, BatchWriter, sums_of
from gateway.ledger.row import ENDS, LostRows, crashed
from gateway.store.database import transaction
from gateway.store.ids import new_id
from gateway.store.migrations import migrate
from tests.counting import calls_of
from tests.unit.ledger.support import DAY, NOON, STORED, Books, began, books, row


def write(ledger: Books, *lines: Any, **options: Any) -> None:
    BatchWriter(ledger.connection, **options).write([("p", one) for one in lines], {}, now=NOON)


@pytest.mark.parametrize(
    ("fields", "counted"),
    [
        ({}, {"requests": 1}),
        ({"ended": "upstream_error"}, {"requests": 1, "failed": 1}),
        ({"ended": "crashed"}, {"requests": 1, "failed": 1}),
        ({"ended": "client_closed_request"}, {"requests": 1, "aborted": 1}),
        ({"ended": "superseded"}, {"requests": 1, "aborted": 1}),
        ({"ended": "rate_limit_exceeded", "refused": True}, {"refused": 1}),
        ({"usage_source": "estimated"}, {"requests": 1, "estimated": 1}),
        ({"first_ms": 0}, {"requests": 1, "firsts": 1}),
        ({"first_ms": 9}, {"requests": 1, "firsts": 1, "first_ms": 9}),
        ({"reasoning_tokens": 2}, {"requests": 1, "reasoning_tokens": 2}),
    ],
)
def test_what_a_row_adds_to_the_sums_of_its_day(
    fields: dict[str, Any], counted: dict[str, int]
) -> None:
    added = dict(zip(SUMS, sums_of(row(**fields)), strict=True))
    usual = {"prompt_tokens": 25, "completion_tokens": 3, "duration_ms": 40}
    assert {name: value for name, value in added.items() if value} == usual | counted


def test_a_row_that_comes_again_changes_nothing(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        first = row()
        write(ledger, first, row(), first)
        write(ledger, first)
        assert ledger.one("SELECT count(*) FROM request") == 2
        assert ledger.select("SELECT requests, prompt_tokens FROM usage_day") == [(2, 50)]
        ledger.balance()


def test_a_thousand_requests_with_one_id_of_a_client_are_a_thousand_rows(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        write(ledger, *(row(request_id="mine") for _ in range(1000)))
        assert ledger.one("SELECT count(*) FROM request WHERE request_id = 'mine'") == 1000
        assert ledger.one("SELECT requests FROM usage_day") == 1000


def test_a_name_keeps_the_id_of_its_first_row(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        write(ledger, row(key="alice"), row(key="bob", team=""))
        write(ledger, row(key="alice"), row(key="alice", source="store"), row(key=""))
        keys = {(source, name): id for id, source, name in ledger.select(KEYS)}
        assert set(keys) == {("config", "alice"), ("config", "bob"), ("store", "alice")}
        assert all(len(id) == 12 and set(id) <= set(LETTERS) for id in keys.values())
        assert ledger.select("SELECT key_id, count(*) FROM request GROUP BY 1 ORDER BY 2, 1") == [
            *sorted([("", 1), (keys["config", "bob"], 1), (keys["store", "alice"], 1)]),
            (keys["config", "alice"], 2),
        ]
        assert ledger.one("SELECT count(*) FROM team") == 1
        assert ledger.one("SELECT count(*) FROM request WHERE team_id = ''") == 1


KEYS = "SELECT id, source, name FROM key"
LETTERS = "abcdefghijklmnopqrstuvwxyz234567"


def test_an_id_that_was_undone_is_not_used_again(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        writer = BatchWriter(ledger.connection)
        with pytest.raises(sqlite3.IntegrityError):
            writer.write([("p", row()), ("p", row(prompt_tokens=-1))], {}, now=NOON)
        assert ledger.select(KEYS) == []
        writer.write([("p", row())], {}, now=NOON)
        assert ledger.select("SELECT key_id FROM request") == ledger.select("SELECT id FROM key")


def test_what_is_open_stays_until_its_end_or_its_loss(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        one, two, three = began(), began(), began()
        write(ledger, one, two, three, row(id=one.id))
        assert ledger.one("SELECT count(*) FROM began") == 2
        write(ledger, row(id=two.id), LostRows(DAY, "alice", 1, [three.id]))
        assert ledger.one("SELECT count(*) FROM began") == 0
        assert ledger.select("SELECT * FROM lost") == [(DAY, "alice", 1)]


def test_without_rows_there_are_the_same_sums(tmp_path: Path) -> None:
    with books(tmp_path / "rows.db") as full, books(tmp_path / "days.db") as short:
        lines = [row(), row(model="other"), row(ended="upstream_error"), row(day="2026-12-01")]
        write(full, *lines)
        write(short, *lines, detail="days")
        sums = f"SELECT day, model, {', '.join(SUMS)} FROM usage_day ORDER BY 1, 2"
        assert short.select(sums) == full.select(sums)
        assert short.one("SELECT count(*) FROM request") == 0
        assert short.select("SELECT day FROM partial_day ORDER BY 1") == [(DAY,), ("2026-12-01",)]
        assert full.select("SELECT * FROM partial_day") == []


ROWS = st.lists(
    st.builds(
        row,
        at=st.integers(NOON - 86_400_000, NOON),
        day=st.sampled_from(["2026-11-29", DAY]),
        key=st.sampled_from(["", "alice", "bob"]),
        team=st.sampled_from(["", "web", "app"]),
        model=st.sampled_from(["a", "b"]),
        route=st.sampled_from(["chat", "fim"]),
        ended=st.sampled_from(ENDS),
        refused=st.booleans(),
        prompt_tokens=st.integers(0, 10_000),
        completion_tokens=st.integers(0, 10_000),
        reasoning_tokens=st.integers(0, 100),
        first_ms=st.none() | st.integers(0, 100),
    ),
    max_size=20,
)


@settings(max_examples=50)
@given(batches=st.lists(ROWS, max_size=3))
def test_every_grouping_has_the_sum_of_the_rows(batches: list[list[Any]]) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        migrate(connection, Path("memory"), now=NOON)
        writer = BatchWriter(connection)
        for batch in batches:
            writer.write([("p", one) for one in batch], {}, now=NOON)
        rows = [one for batch in batches for one in batch]
        whole = tuple(map(sum, zip(*map(sums_of, rows), strict=True))) or (0,) * len(SUMS)
        names = ", ".join(f"coalesce(sum({name}), 0)" for name in SUMS)
        for column in ("day", "key_id", "team_id", "model", "route"):
            groups = connection.execute(f"SELECT {names} FROM usage_day GROUP BY {column}")
            found = tuple(map(sum, zip(*groups.fetchall(), strict=True))) or (0,) * len(SUMS)
            assert found == whole
        tokens = connection.execute("SELECT coalesce(sum(tokens), 0) FROM usage_recent")
        assert (
            tokens.fetchone()[0]
            == whole[SUMS.index("prompt_tokens")] + whole[SUMS.index("completion_tokens")]
        )
    finally:
        connection.close()


def test_a_batch_costs_a_few_calls_per_row(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        writer = BatchWriter(ledger.connection)
        writer.write([("p", row())], {}, now=NOON)

        def calls(count: int) -> int:
            lines: list[Any] = [("p", row()) for _ in range(count)]
            return calls_of(lambda: writer.write(lines, {}, now=NOON))

        assert calls(200) - calls(100) < 100 * 25


def test_a_transaction_that_fails_is_undone(tmp_path: Path) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        with transaction(connection):
            connection.execute(
                "INSERT INTO team (id, name, created_at) VALUES (?, 'n', 1)", (new_id(),)
            )
            raise KeyError

    with books(tmp_path / "team.db") as ledger:
        with pytest.raises(KeyError):
            fail(ledger.connection)
        assert not ledger.connection.in_transaction
        assert ledger.one("SELECT count(*) FROM team") == 0


def test_rows_of_a_key_made_at_run_time_have_its_id_under_every_name(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        ledger.add_stored_key()
        write(ledger, row(**STORED), row(**STORED | {"key": "alicia", "team": "web 2"}))
        gone = began(**STORED | {"key": "ally"})
        write(ledger, gone, crashed(gone))
        ids = "SELECT DISTINCT key_id, team_id FROM"
        assert ledger.select(f"{ids} request") == [("a" * 12, "b" * 12)]
        assert ledger.select(f"{ids} usage_day") == [("a" * 12, "b" * 12)]
        assert ledger.one("SELECT count(*) FROM key") == 1
        assert ledger.one("SELECT count(*) FROM team") == 1
        assert ledger.one("SELECT sum(requests) FROM usage_day") == 3


def test_a_team_of_the_configuration_has_one_id_for_the_keys_of_both_sources(
    tmp_path: Path,
) -> None:
    with books(tmp_path / "team.db") as ledger:
        ledger.add_stored_key("alice", "ops")
        write(ledger, row(key="ci"), row(**STORED | {"team_id": ""}))
        assert ledger.select(
            "SELECT DISTINCT name FROM request JOIN team ON team.id = team_id"
        ) == [("web",)]
        assert ledger.one("SELECT count(DISTINCT team_id) FROM request") == 1


def test_a_key_made_at_run_time_without_a_team_has_none(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as ledger:
        ledger.add_stored_key()
        write(ledger, row(**STORED | {"team": "", "team_id": ""}))
        assert ledger.select("SELECT key_id, team_id FROM request") == [("a" * 12, "")]
