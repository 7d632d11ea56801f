"""Holds the lock of the one process that writes a database."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from gateway.ledger.spool_files import spool_folder
from gateway.store.owners import give_to_owner, make_folder

_NAME = "writer"


@contextlib.contextmanager
def writer_lock(database: Path) -> Iterator[None]:
    """Hold the lock of a database's one writer, which a gateway holds while it runs.

    Raises BlockingIOError if another process holds it, and OSError.
    """
    folder = spool_folder(database)
    make_folder(folder)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    lock = os.open(folder / _NAME, flags, 0o600)
    try:
        give_to_owner(lock, folder)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(lock)
