"""What root makes belongs to the owner of its folder."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.store.database import connect_writer
from gateway.store.migrations import back_up, migrate
from gateway.store.owners import give_to_owner, make_folder

OWNER = (64_999, 64_998)  # of nobody here

as_root = pytest.mark.skipif(
    os.geteuid() != 0 or "CONFINED" in os.environ, reason="only root may give files away"
)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def owner(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_uid, found.st_gid


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder of another user."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    os.chown(folder, *OWNER)
    return folder


def test_folders_are_made_with_the_mode_and_a_second_time_nothing_happens(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b" / "c"
    make_folder(folder)
    make_folder(folder)
    assert [path.stat().st_mode & 0o777 for path in (folder, folder.parent)] == [0o700, 0o700]
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "file")


def test_in_a_folder_of_ones_own_nothing_changes(tmp_path: Path) -> None:
    with opened(tmp_path / "mine") as descriptor:
        give_to_owner(descriptor, tmp_path)
    assert owner(tmp_path / "mine") == owner(tmp_path)


@as_root
def test_root_gives_files_and_folders_to_the_owner_of_the_folder(foreign: Path) -> None:
    make_folder(foreign / "a" / "b")
    with opened(foreign / "file") as descriptor:
        give_to_owner(descriptor, foreign)
    made = (foreign / "a", foreign / "a" / "b", foreign / "file")
    assert [owner(path) for path in made] == [OWNER] * 3


@as_root
def test_a_file_with_a_second_name_is_not_given_away(foreign: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    os.link(tmp_path / "secret", foreign / "file")
    with opened(foreign / "file") as descriptor:
        give_to_owner(descriptor, foreign)
    assert owner(foreign / "file") == (0, 0)


@as_root
def test_a_file_of_a_third_user_stays_his(foreign: Path) -> None:
    (foreign / "file").touch()
    os.chown(foreign / "file", 64_997, 64_997)
    with opened(foreign / "file") as descriptor:
        give_to_owner(descriptor, foreign)
    assert owner(foreign / "file") == (64_997, 64_997)


@as_root
def test_a_database_that_root_makes_belongs_to_the_owner_of_its_folder(foreign: Path) -> None:
    path = foreign / "db" / "team.db"
    with contextlib.closing(connect_writer(path)) as connection:
        migrate(connection, path, now=0)
        back_up(connection, foreign / "copy.db")
        beside = sorted(path.parent.iterdir())
        assert [file.name for file in beside] == ["team.db", "team.db-shm", "team.db-wal"]
        assert {owner(file) for file in (*beside, foreign / "copy.db", foreign / "db")} == {OWNER}
    with contextlib.closing(sqlite3.connect(foreign / "copy.db")) as copy:
        assert copy.execute("SELECT count(*) FROM schema_version").fetchone() != (0,)
