"""Names the files of a spool, and tells by a lock whether the process of a file lives."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(r"([a-z0-9][a-z0-9_-]{0,80})\.(\d{6})\.jsonl")
_LOCK = re.compile(r"([a-z0-9][a-z0-9_-]{0,80})\.lock")
_UNUSED = 3600.0  # seconds after which a lock without a file of lines has no process any more
_TRIES = 100
_PAUSE = 0.005  # seconds between two tries


@dataclass(frozen=True, slots=True, order=True)
class SpoolFile:
    """Describes a file of lines: the process that writes it, its number, and its size."""

    process: str
    number: int
    size: int

    @property
    def name(self) -> str:
        """Return the name of the file in the folder of the spool."""
        return file_name(self.process, self.number)


def spool_folder(database: Path) -> Path:
    """Return the folder of the spool that belongs to a database."""
    return database.with_name(f"{database.name}.spool")


def file_name(process: str, number: int) -> str:
    """Return the name of a process's file of lines."""
    return f"{process}.{number:06d}.jsonl"


def lock_name(process: str) -> str:
    """Return the name of the file whose lock shows that a process lives."""
    return f"{process}.lock"


def spool_files(folder: Path) -> list[SpoolFile]:
    """Return the files of lines, those of one process in their order. Raises OSError."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if match := _NAME.fullmatch(entry.name):
                with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                    size = entry.stat(follow_symlinks=False).st_size
                    found.append(SpoolFile(match[1], int(match[2]), size))
    return sorted(found)


def hold_process_lock(folder: Path, process: str) -> int:
    """Take the lock of this process, before its first file of lines exists.

    Return the descriptor; the system releases the lock when the process ends. Raises OSError.
    """
    path = folder / lock_name(process)
    for _ in range(_TRIES):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.stat(path).st_ino == os.fstat(descriptor).st_ino:  # nobody removed it meanwhile
                return descriptor
        os.close(descriptor)
        time.sleep(_PAUSE)
    raise BlockingIOError(f"the lock of {process} is held")


@contextlib.contextmanager
def held_if_gone(folder: Path, process: str) -> Iterator[bool]:
    """Yield whether the process of a spool has ended; its lock is held meanwhile."""
    try:
        descriptor = os.open(folder / lock_name(process), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        yield True
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)


def remove_unused_locks(folder: Path) -> None:
    """Remove the locks of processes that left no file of lines. Raises OSError."""
    used = {file.process for file in spool_files(folder)}
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        match = _LOCK.fullmatch(name)
        if match is None or match[1] in used:
            continue
        with contextlib.suppress(FileNotFoundError):
            if time.time() - os.stat(folder / name).st_mtime > _UNUSED:
                with held_if_gone(folder, match[1]) as gone:
                    if gone:
                        os.unlink(folder / name)
