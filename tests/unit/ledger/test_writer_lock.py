"""One process writes a database."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.ledger.writer_lock import writer_lock
from tests.unit.store.test_owners import OWNER, as_root, foreign, owner

__all__ = ["foreign"]


def test_the_lock_is_held_once_and_free_again(tmp_path: Path) -> None:
    database = tmp_path / "state" / "team.db"
    with writer_lock(database), pytest.raises(BlockingIOError), writer_lock(database):
        pass
    with writer_lock(database):
        assert (tmp_path / "state" / "team.db.spool" / "writer").stat().st_mode & 0o777 == 0o600


def test_a_link_in_place_of_the_lock_is_refused(tmp_path: Path) -> None:
    (tmp_path / "team.db.spool").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "team.db.spool" / "writer")
    with pytest.raises(OSError), writer_lock(tmp_path / "team.db"):  # noqa: PT011  ELOOP
        pass


@as_root
def test_the_lock_that_root_makes_belongs_to_the_owner_of_the_folder(foreign: Path) -> None:
    with writer_lock(foreign / "team.db"):
        spool = foreign / "team.db.spool"
        assert (owner(spool), owner(spool / "writer")) == (OWNER, OWNER)
