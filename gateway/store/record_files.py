"""Keeps records of answers as files in a folder, for some days and up to a size."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_FILES = 2000
"""The most records in a folder; the oldest make room."""

_NAME = re.compile(r"answer-\d{8}T\d{6}Z-[0-9a-f]{12}\.json(\.new)?")
_MAX_ENTRIES = 20_000  # entries of the folder that one clean-up reads
_UNFINISHED = 3600.0  # seconds after which a file that is not complete has no writer any more


@dataclass(frozen=True, slots=True)
class _RecordFile:
    """Describes a file of ours."""

    name: str
    written: float
    size: int


class RecordFolder:
    """Writes records to a folder with mode 0700, each a file with mode 0600.

    days: how long a record is kept.
    max_bytes: the most bytes of all records together; the oldest make room.

    Several processes may use one folder. Only files with names of ours are counted and removed;
    links are neither. Methods block on the disk: call them in a thread. They raise OSError.
    """

    def __init__(self, path: Path, *, days: float, max_bytes: int) -> None:
        self._path = path
        self._seconds = days * 86_400
        self._max_bytes = max_bytes

    def save(self, raw: bytes) -> str:
        """Write a record after older ones made room for it; return the name of its file."""
        if len(raw) > self._max_bytes:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(self._path) as folder:
            self._remove_old(folder, len(raw))
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
            name = f"answer-{stamp}-{secrets.token_hex(6)}.json"
            try:
                _write(folder, f"{name}.new", raw)
                os.rename(f"{name}.new", name, src_dir_fd=folder, dst_dir_fd=folder)
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(f"{name}.new", dir_fd=folder)
                raise
        return name

    def remove_old(self) -> None:
        """Remove the records that are too old, or too many; a missing folder has none."""
        with contextlib.suppress(FileNotFoundError), _locked(self._path) as folder:
            self._remove_old(folder, 0)

    def _remove_old(self, folder: int, needed: int) -> None:
        """Remove records until a new one of so many bytes has room."""
        now = time.time()
        kept: list[_RecordFile] = []
        for entry in list(_entries(folder)):
            longest = _UNFINISHED if entry.name.endswith(".new") else self._seconds
            if now - entry.written > longest:
                _unlink(folder, entry.name)
            else:
                kept.append(entry)
        kept.sort(key=lambda entry: (entry.written, entry.name), reverse=True)
        size = sum(entry.size for entry in kept)
        most = MAX_FILES - (needed > 0)
        while kept and (size + needed > self._max_bytes or len(kept) > most):
            oldest = kept.pop()
            size -= oldest.size
            _unlink(folder, oldest.name)


def read_record_file(path: Path, most: int) -> bytes:
    """Return the content of a file. Raises OSError, also for more than `most` bytes.

    Opening a FIFO would wait for its other end, for ever.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        raw = file.read(most + 1)
    if len(raw) > most:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return raw


def _write(folder: int, name: str, raw: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, 0o600, dir_fd=folder), "wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())


def _entries(folder: int) -> Iterator[_RecordFile]:
    """Return the files of ours among the first entries of the folder."""
    with os.scandir(folder) as found:
        for count, entry in enumerate(found):
            if count >= _MAX_ENTRIES:
                return
            if not _NAME.fullmatch(entry.name):
                continue
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile, by a person
                state = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(state.st_mode):
                    yield _RecordFile(entry.name, state.st_mtime, state.st_size)


def _unlink(folder: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Hold the lock of a folder, against other threads and processes; return its descriptor."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(folder)  # releases the lock
