"""Rows of the audit are read in pages, and say which fields of a record have changed."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gateway.keys.audit_log import MOST_ROWS, AuditFilter, AuditLog, changed_fields
from gateway.store.database import connect_writer
from gateway.store.migrations import migrate
from tests.unit.keys.conftest import LEAD, ROOT
from tests.unit.keys.support import NOON, key, team


@pytest.fixture
def log(path: Path) -> Iterator[AuditLog]:
    with contextlib.closing(connect_writer(path)) as connection:
        migrate(connection, path, now=NOON)
        yield AuditLog(connection)


def test_pages_have_each_row_once_also_if_rows_are_added_meanwhile(log: AuditLog) -> None:
    for number in range(10):
        log.append(ROOT, NOON, "key.add", str(number), f"key {number}")
    seen: list[str] = []
    page = log.page(AuditFilter(limit=4))
    while True:
        seen += [one.object_id for one in page.rows]
        log.append(ROOT, NOON + 1, "key.add", "late", "late")
        if page.cursor is None:
            break
        page = log.page(AuditFilter(limit=4), page.cursor)
    assert seen == [str(number) for number in reversed(range(10))]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (AuditFilter(), ["d", "c", "b", "a"]),
        (AuditFilter(since=NOON + 1), ["d", "c", "b"]),
        (AuditFilter(until=NOON + 1), ["a"]),
        (AuditFilter(since=NOON + 1, until=NOON + 3), ["c", "b"]),
        (AuditFilter(actor="lead"), ["d", "b"]),
        (AuditFilter(action="team.add"), ["c"]),
        (AuditFilter(object_id="b"), ["b"]),
        (AuditFilter(actor="nobody"), []),
        (AuditFilter(limit=0), ["d"]),
        (AuditFilter(limit=10 * MOST_ROWS), ["d", "c", "b", "a"]),
    ],
)
def test_a_filter_chooses_rows(log: AuditLog, where: AuditFilter, expected: list[str]) -> None:
    log.append(ROOT, NOON, "key.add", "a", "a")
    log.append(LEAD, NOON + 1, "key.add", "b", "b")
    log.append(ROOT, NOON + 2, "team.add", "c", "c")
    log.append(LEAD, NOON + 3, "key.add", "d", "d")
    assert [one.object_id for one in log.page(where).rows] == expected


def test_the_fields_that_differ_are_named_and_no_secret() -> None:
    alice, _ = key(limits={"concurrency": 1, "tokens_per_day": 5}, models=("m",))
    assert changed_fields(None, alice) == {
        "name": (None, "alice"),
        "models": (None, ("m",)),
        "limits.concurrency": (None, 1),
        "limits.tokens_per_day": (None, 5),
    }
    after = msgspec.structs.replace(
        alice, version=2, limits={"concurrency": 2}, models=(), blocked_at=NOON
    )
    assert changed_fields(alice, after) == {
        "models": (("m",), ()),
        "blocked_at": (None, NOON),
        "limits.concurrency": (1, 2),
        "limits.tokens_per_day": (5, None),
    }
    assert changed_fields(alice, msgspec.structs.replace(alice, version=2, secrets=())) == {}
    assert changed_fields(None, team(note="x")) == {"name": (None, "web"), "note": (None, "x")}


def test_what_is_too_old_is_deleted_a_little_at_a_time(log: AuditLog, path: Path) -> None:
    for number in range(250):
        log.append(ROOT, NOON + number, "key.add", str(number), "")
    counts = []
    for _ in range(4):
        log.delete_old(NOON + 240)
        with contextlib.closing(sqlite3.connect(path)) as reader:
            counts.append(reader.execute("SELECT count(*), min(at) FROM audit").fetchone())
    assert counts == [(150, NOON + 100), (50, NOON + 200), (10, NOON + 240), (10, NOON + 240)]
