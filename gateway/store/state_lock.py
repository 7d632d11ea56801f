"""Tells processes that use one state file of each other, by a lock that ends with its process."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_SUFFIX = ".lock"
_TRIES = 20
_PAUSE = 0.005  # seconds between two tries


class StateLock:
    """Shows other processes that this one uses the accounts of a state file.

    Every user holds the lock shared, so that none keeps another from starting. To find out
    whether it is alone, a user tries to hold the lock exclusively first. The system releases the
    lock (flock(2)) when the process ends, however it ends: the file that stays behind means
    nothing. The lock of the folder is another one: `TokenFile` takes it for each write.
    """

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._path: Path | None = None

    def take(self, state_file: Path) -> bool:
        """Take the lock of a state file, and release the lock of another one.

        Return whether nobody else held it; True if this object holds it already. Raises
        OSError; then nothing has changed.
        """
        path = state_file.with_name(state_file.name + _SUFFIX)
        if path == self._path:
            return True
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = _open(path)
        try:
            alone = _lock(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self.close()
        self._descriptor, self._path = descriptor, path
        return alone

    def close(self) -> None:
        """Release the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = self._path = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _open(path: Path) -> int:
    """Open the file of the lock, not a link or a FIFO; others may read it, to lock it too."""
    flags = os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o644)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return descriptor


def _lock(descriptor: int) -> bool:
    """Hold the lock shared; return whether nobody else held it. Raises OSError.

    Another process holds it exclusively for a moment only, while it starts too. The change from
    exclusive to shared can lose the lock to it, and then all of this is done again.
    """
    for _ in range(_TRIES):
        alone = _flock(descriptor, fcntl.LOCK_EX)
        if _flock(descriptor, fcntl.LOCK_SH):
            return alone
        time.sleep(_PAUSE)
    raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK))


def _flock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
