"""The database is opened with the settings that several processes need."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest

from gateway.store import database
from gateway.store.database import (
    StoreUnusable,
    connect_reader,
    connect_writer,
    network_file_system,
)
from tests.unit.ledger.support import books

MOUNT = "36 25 {device} / /data rw,relatime shared:1 - {kind} server:/data rw"


def test_the_writer_has_a_log_and_files_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "team.db"
    with contextlib.closing(connect_writer(path)) as connection:
        connection.execute("CREATE TABLE t (x)")
        pragmas = [
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "auto_vacuum", "busy_timeout")
        ]
        assert pragmas == ["wal", 1, 2, 5000]
        assert connection.isolation_level is None
        assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}


def test_a_reader_cannot_write_and_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        connect_reader(tmp_path / "team.db")
    assert list(tmp_path.iterdir()) == []
    with (
        books(tmp_path / "a?b#c%.db") as ledger,
        contextlib.closing(connect_reader(ledger.path)) as reader,
    ):
        assert reader.execute("SELECT count(*) FROM request").fetchone()[0] == 0
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.execute("DELETE FROM request")


@pytest.mark.parametrize(
    ("kind", "refused"), [("nfs4", True), ("cifs", True), ("9p", True), ("ext4", False)]
)
def test_a_network_file_system_is_known_by_its_mount(
    tmp_path: Path, kind: str, refused: bool
) -> None:
    device = os.stat(tmp_path).st_dev
    text = MOUNT.format(device=f"{os.major(device)}:{os.minor(device)}", kind=kind)
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"{MOUNT.format(device='0:0', kind='nfs')}\n{text}\n")
    assert network_file_system(tmp_path, mounts) == (kind if refused else None)
    assert network_file_system(tmp_path, tmp_path / "none") is None


def test_a_database_on_a_network_file_system_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "network_file_system", lambda _: "nfs4")
    with pytest.raises(StoreUnusable, match="is on nfs4"):
        connect_writer(tmp_path / "team.db")
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_place_of_the_database_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "team.db").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        connect_writer(tmp_path / "team.db")
    assert not (tmp_path / "elsewhere").exists()
