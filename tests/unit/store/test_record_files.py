"""Records of answers: private files, for some days, up to a size, and never anything else."""

from __future__ import annotations

import os
import stat
import threading
import time
from pathlib import Path

import pytest

from gateway.store import record_files
from gateway.store.record_files import RecordFolder, read_record_file

DAY = 86_400


def folder_of(path: Path, *, days: float = 7, max_bytes: int = 1000) -> RecordFolder:
    return RecordFolder(path, days=days, max_bytes=max_bytes)


def names(path: Path) -> list[str]:
    return sorted(file.name for file in path.iterdir())


def age(file: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(file, (then, then), follow_symlinks=False)


def test_a_record_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "records"
    name = folder_of(path).save(b"{}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((path / name).stat().st_mode) == 0o600
    assert (path / name).read_bytes() == b"{}"
    assert names(path) == [name]


def test_records_of_one_second_have_names_of_their_own(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    assert len({folder.save(b"{}") for _ in range(20)}) == 20


@pytest.mark.parametrize("when", ["at the start", "when a record is written"])
def test_a_record_is_removed_after_its_days(tmp_path: Path, when: str) -> None:
    folder = folder_of(tmp_path)
    old, young = folder.save(b"old"), folder.save(b"young")
    age(tmp_path / old, 7 * DAY + 60)
    age(tmp_path / young, 7 * DAY - 60)
    if when == "at the start":
        folder.remove_old()
        assert names(tmp_path) == [young]
    else:
        new = folder.save(b"new")
        assert names(tmp_path) == sorted([young, new])


def test_the_oldest_records_make_room(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, max_bytes=1000)
    written = [folder.save(b"x" * 300) for _ in range(3)]
    for number, name in enumerate(written):
        age(tmp_path / name, 100 - number)
    newest = folder.save(b"x" * 400)
    assert names(tmp_path) == sorted([*written[1:], newest])
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 1000


def test_there_are_never_more_than_so_many_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_files, "MAX_FILES", 3)
    folder = folder_of(tmp_path)
    for number in range(5):
        age(tmp_path / folder.save(b"%d" % number), 100 - number)
    assert sorted(file.read_bytes() for file in tmp_path.iterdir()) == [b"2", b"3", b"4"]


def test_a_record_that_never_fits_is_refused_and_removes_nothing(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, max_bytes=10)
    kept = folder.save(b"x" * 10)
    with pytest.raises(OSError, match="too large"):
        folder.save(b"x" * 11)
    assert names(tmp_path) == [kept]


def test_files_and_links_of_others_stay(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "records", tmp_path / "elsewhere"
    folder = folder_of(path, max_bytes=1000)
    first = folder.save(b"x")
    elsewhere.write_text("not ours")
    others = ["notes.json", "answer-20260101T000000Z-xyz.json", "answer-1.json", ".hidden"]
    for name in others:
        (path / name).write_bytes(b"y" * 2000)
    link = path / "answer-20260101T000000Z-0123456789ab.json"
    link.symlink_to(elsewhere)
    subfolder = path / "answer-20260101T000000Z-0123456789ac.json"
    subfolder.mkdir()
    for file in path.iterdir():
        age(file, 100 * DAY)
    second = folder.save(b"x")
    assert names(path) == sorted([*others, link.name, subfolder.name, second])
    assert first not in names(path)
    assert elsewhere.read_text() == "not ours"


def test_a_file_that_was_never_finished_is_removed_later(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    left = tmp_path / "answer-20260101T000000Z-0123456789ab.json.new"
    left.write_bytes(b"half")
    folder.remove_old()
    assert left.exists()  # another process may be writing it
    age(left, 2 * 3600)
    folder.remove_old()
    assert not left.exists()


def test_a_missing_folder_has_no_old_records(tmp_path: Path) -> None:
    folder_of(tmp_path / "none").remove_old()
    assert names(tmp_path) == []


def test_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    def write() -> None:
        folder = folder_of(tmp_path, max_bytes=10_000)
        for _ in range(10):
            folder.save(b"x" * 50)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names(tmp_path)) == 40


def test_a_write_that_fails_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        folder_of(tmp_path).save(b"x")
    assert names(tmp_path) == []


def test_reading_a_record_is_bounded(tmp_path: Path) -> None:
    file = tmp_path / "record"
    file.write_bytes(b"x" * 10)
    assert read_record_file(file, 10) == b"x" * 10
    with pytest.raises(OSError, match="too large"):
        read_record_file(file, 9)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for other in (fifo, tmp_path, tmp_path / "none"):
        with pytest.raises(OSError, match=r"regular file|directory|No such file"):
            read_record_file(other, 10)
