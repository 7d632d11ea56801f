"""A cookie's text is not stored, and a key has not more sessions than it needs."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.keys.sessions import IDLE_MS, LONGEST_MS, SessionRecord, SessionStore
from gateway.store.database import connect_writer
from gateway.store.migrations import migrate
from tests.unit.keys.support import NOON


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(connect_writer(path)) as opened:
        migrate(opened, path, now=NOON)
        yield opened


def record(key_id: str = "a" * 12, at: int = NOON, agent: str = "firefox") -> SessionRecord:
    return SessionRecord(key_id, "lead", "admin", at, at, agent)


def test_only_the_digest_is_stored(connection: sqlite3.Connection) -> None:
    text = SessionStore(connection).add(record(agent="x" * 1000))
    (row,) = connection.execute("SELECT * FROM session").fetchall()
    assert row[0] == hashlib.sha256(text.encode()).hexdigest()
    assert text not in str(row)
    assert row[-1] == "x" * 64


def test_the_oldest_of_too_many_sessions_makes_room(connection: sqlite3.Connection) -> None:
    sessions = SessionStore(connection)
    other = sessions.add(record("b" * 12))
    texts = [sessions.add(record(at=NOON + number)) for number in range(22)]
    found = [sessions.find(text, NOON + 30) is not None for text in texts]
    assert found == [False] * 2 + [True] * 20
    assert sessions.find(other, NOON + 30) is not None


def test_a_session_lasts_until_a_moment(connection: sqlite3.Connection) -> None:
    sessions = SessionStore(connection)
    text = sessions.add(record())
    assert sessions.find(text, NOON + IDLE_MS - 1) is not None
    assert sessions.find(text, NOON + IDLE_MS) is None
    sessions.see(text, NOON + LONGEST_MS - 1)
    assert sessions.find(text, NOON + LONGEST_MS - 1) is not None
    assert sessions.find(text, NOON + LONGEST_MS) is None
    sessions.delete_old(NOON + LONGEST_MS - 1)
    assert connection.execute("SELECT count(*) FROM session").fetchone() == (1,)
    sessions.delete_old(NOON + LONGEST_MS)
    assert connection.execute("SELECT count(*) FROM session").fetchone() == (0,)
