"""A spool takes each line with one write, never raises, and counts what it cannot write."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.ledger.row import LedgerRow, LostRows, decode_line
from gateway.ledger.spool import CUT_MARK, Spool
from gateway.ledger.spool_files import spool_files
from tests.counting import calls_of
from tests.unit.ledger.support import began, books, row

ROOT = Path(__file__).parents[3]


class Disk:
    """Takes bytes, until it is told to be full or to take only so many."""

    def __init__(self) -> None:
        self.full = False
        self.takes: int | None = None
        self.writes = 0

    def write(self, descriptor: int, data: bytes) -> int:
        self.writes += 1
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(descriptor, data if self.takes is None else data[: self.takes])


class SecondsClock:
    """A monotonic clock that moves as a test says."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def content(folder: Path) -> bytes:
    return b"".join((folder / file.name).read_bytes() for file in spool_files(folder))


def lines(folder: Path) -> list[Any]:
    return [decode_line(raw) for raw in content(folder).splitlines() if CUT_MARK not in raw]


def test_each_line_is_one_write_and_is_there_at_once(tmp_path: Path) -> None:
    disk = Disk()
    spool = Spool(tmp_path / "spool", "main", write=disk.write)
    first, last = began(), row()
    spool.began(first)
    spool.ended(last)
    assert disk.writes == 2
    assert lines(tmp_path / "spool") == [first, last]
    spool.close()


def test_the_folder_and_its_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "spool"
    Spool(folder, "main").close()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}


def test_rows_of_a_full_disk_are_counted_by_day_and_key_and_the_count_is_written_later(
    tmp_path: Path,
) -> None:
    disk, clock = Disk(), SecondsClock()
    spool = Spool(tmp_path, "main", write=disk.write, clock=clock)
    known = began()
    spool.began(known)
    disk.full = True
    spool.ended(row(id=known.id))
    spool.ended(row())
    spool.ended(row(key="bob"))
    spool.ended(row(day="2026-12-01"))
    disk.full = False
    spool.ended(row())  # within a second, the disk is not asked again
    clock.now = 2.0
    assert spool.flush_counts()
    assert [line for line in lines(tmp_path) if isinstance(line, LostRows)] == [
        LostRows("2026-11-30", "alice", 3, [known.id]),
        LostRows("2026-11-30", "bob", 1),
        LostRows("2026-12-01", "alice", 1),
    ]
    assert spool.lost == 5
    spool.close()


@pytest.mark.parametrize("truncates", [True, False])
def test_half_a_line_is_taken_back_or_marked(
    tmp_path: Path, truncates: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int, __: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    if not truncates:
        monkeypatch.setattr(os, "ftruncate", refuse)
    disk, clock = Disk(), SecondsClock()
    spool = Spool(tmp_path, "main", write=disk.write, clock=clock)
    first, cut, last = row(), row(), row()
    spool.ended(first)
    disk.takes = 20
    spool.ended(cut)
    disk.takes, clock.now = None, 2.0
    spool.ended(last)
    assert lines(tmp_path) == [first, LostRows("2026-11-30", "alice", 1), last]
    assert (CUT_MARK in content(tmp_path)) is not truncates
    spool.close()


def test_a_full_spool_loses_rows_as_it_counts_them(tmp_path: Path) -> None:
    clock = SecondsClock()
    sent = 2000
    with books(tmp_path / "team.db") as ledger:
        spool = ledger.spool(max_bytes=100_000, clock=clock)
        for _ in range(sent):
            spool.ended(row())
            clock.now += 0.1
        assert sum(file.size for file in spool_files(ledger.folder)) <= 100_000
        assert 0 < spool.lost < sent
        ledger.transfer()
        clock.now += 2.0
        assert spool.flush_counts()
        ledger.transfer()
        assert ledger.one("SELECT sum(count) FROM lost") == spool.lost
        assert ledger.one("SELECT count(*) FROM request") == sent - spool.lost
        spool.ended(row())
        assert ledger.mover.unread() > 0
        spool.close()


def test_files_are_small_enough_for_all_processes_under_the_bound(tmp_path: Path) -> None:
    spools = [Spool(tmp_path, f"worker-{n}", max_bytes=80_000) for n in range(4)]
    for _ in range(40):
        for spool in spools:
            spool.ended(row())
    assert max(file.size for file in spool_files(tmp_path)) < 80_000 / 4
    for spool in spools:
        spool.close()


def test_a_folder_that_comes_back_takes_lines_again(tmp_path: Path) -> None:
    blocked, clock = tmp_path / "spool", SecondsClock()
    blocked.write_text("a file, and no folder")
    spool = Spool(blocked, "main", clock=clock)
    spool.began(began())
    spool.ended(row())
    blocked.unlink()
    clock.now = 2.0
    spool.ended(row())
    assert [type(line) for line in lines(blocked)] == [LostRows, LedgerRow]
    spool.close()


@pytest.mark.parametrize(
    "bad",
    [
        lambda: row(request_id="\ud83d"),
        lambda: row(model=object()),
        lambda: row(request_id="x" * 20_000),
        lambda: row(key="\ud83d"),
        lambda: row(key=object(), day="x" * 20_000),
    ],
    ids=["half a character", "another type", "too long", "a key", "a day"],
)
def test_a_row_that_cannot_be_written_is_lost_alone(
    tmp_path: Path, bad: Callable[[], LedgerRow]
) -> None:
    spool = Spool(tmp_path, "main")
    spool.ended(bad())
    spool.ended(row())
    assert [type(line) for line in lines(tmp_path)] == [LostRows, LedgerRow]
    assert spool.lost == 1
    spool.close()
    spool.ended(row())  # after the end, too, nothing is raised


def test_the_cost_of_a_row_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "main")
    line = row()
    spool.ended(line)

    def put(count: int) -> None:
        for _ in range(count):
            spool.ended(line)

    few, many = calls_of(lambda: put(20)), calls_of(lambda: put(200))
    assert few / 20 < 15
    assert many / 200 <= few / 20
    spool.close()


SMALL_DISK = """
import pathlib, resource, signal, sys
from tests.unit.ledger.support import row
from gateway.ledger.spool import Spool
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
now = 0.0
spool = Spool(pathlib.Path(sys.argv[1]), "main", clock=lambda: now)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
for _ in range(100):
    spool.ended(row())
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
now = 2.0
spool.ended(row())
print(spool.lost)
"""


def test_what_the_system_does_not_take_is_lost_and_nothing_else(tmp_path: Path) -> None:
    """The system itself cuts a line here, at a limit for the size of a file."""
    child = subprocess.run(
        [sys.executable, "-c", SMALL_DISK, str(tmp_path / "team.db.spool")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    with books(tmp_path / "team.db") as ledger:
        ledger.transfer()
        lost = int(child.stdout.splitlines()[-1])
        assert 0 < lost < 100
        assert ledger.one("SELECT count(*) FROM request") == 101 - lost
        assert ledger.one("SELECT sum(count) FROM lost") == lost
