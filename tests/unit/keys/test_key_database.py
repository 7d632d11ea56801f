"""A database that cannot be used is an error that says so, and is opened again later."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.keys.changes import KeyChange, NewKey
from gateway.keys.errors import InvalidValue, StoreUnavailable
from gateway.keys.manager import KeyManager
from gateway.keys.records import KeyRecord
from gateway.store.database import connect_writer
from gateway.store.migrations import STEPS
from tests.unit.keys.conftest import ROOT, StoreClock
from tests.unit.ledger.support import held_by_another


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(path: Path) -> sqlite3.Connection:
        return connect_writer(path, busy=0.01)

    monkeypatch.setattr("gateway.keys.key_database.connect_writer", connect)


def test_the_tables_are_made_when_they_are_needed_first(
    open_manager: Callable[[], KeyManager], path: Path
) -> None:
    manager = open_manager()
    assert not path.exists()
    assert manager.table().version == 0
    assert path.stat().st_mode & 0o777 == 0o600


def test_who_holds_the_database_for_long_is_waited_for_a_moment_only(
    manager: KeyManager, path: Path, alice: KeyRecord
) -> None:
    with contextlib.closing(held_by_another(path)) as other:
        with pytest.raises(StoreUnavailable) as refused:
            manager.add_key(ROOT, NewKey(name="bob"))
        assert (refused.value.status, refused.value.code) == (503, "store_unavailable")
        assert refused.value.retry_after == 1.0
        assert "SQLITE_BUSY" in refused.value.message
        assert manager.find_key("alice").id == alice.id  # reading goes on
        other.execute("ROLLBACK")
    manager.add_key(ROOT, NewKey(name="bob"))
    assert manager.table().version == 2


def test_a_fault_within_a_change_undoes_all_of_it(
    manager: KeyManager, alice: KeyRecord, path: Path
) -> None:
    with contextlib.closing(connect_writer(path)) as connection:
        connection.execute("ALTER TABLE audit RENAME TO elsewhere")
    with pytest.raises(StoreUnavailable, match="SQLITE_ERROR"):
        manager.change_key(ROOT, alice.id, KeyChange(name="bob"))
    with contextlib.closing(connect_writer(path)) as connection:
        connection.execute("ALTER TABLE elsewhere RENAME TO audit")
    assert manager.find_key("alice").version == 1
    assert manager.table().version == 1


def test_a_key_can_be_forgotten_while_somebody_reads(
    manager: KeyManager, alice: KeyRecord, path: Path
) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM key").fetchall()
        manager.forget_key(ROOT, alice.id)
        assert reader.execute("SELECT name FROM key").fetchall() == [("alice",)]
        reader.execute("COMMIT")
        assert reader.execute("SELECT name FROM key").fetchall() == [(alice.id,)]
    assert manager.audit().rows[0].action == "key.forget"


def test_a_newer_database_is_left_alone(manager: KeyManager, path: Path) -> None:
    manager.table()
    manager.close()
    with contextlib.closing(connect_writer(path)) as connection:
        connection.execute("INSERT INTO schema_version VALUES (?, 1)", (len(STEPS) + 1,))
    with pytest.raises(StoreUnavailable, match="use the newer version"):
        manager.add_key(ROOT, NewKey(name="alice"))


def test_a_folder_that_is_missing_or_a_file_is_an_error_of_the_store(
    tmp_path: Path, clock: StoreClock
) -> None:
    (tmp_path / "file").touch()
    manager = KeyManager(tmp_path / "file" / "team.db", clock=clock)
    with pytest.raises(StoreUnavailable) as refused:
        manager.table()
    assert os.strerror(20) in refused.value.message or "File exists" in refused.value.message


@pytest.mark.parametrize(
    "action",
    [
        lambda manager: manager.find_key("\udc80"),
        lambda manager: manager.find_team("\ud800"),
        lambda manager: manager.delete_key(ROOT, "\udc80"),
    ],
)
def test_half_a_character_is_a_value_that_cannot_be_stored(
    manager: KeyManager, action: Callable[[KeyManager], Any]
) -> None:
    with pytest.raises(InvalidValue):
        action(manager)
