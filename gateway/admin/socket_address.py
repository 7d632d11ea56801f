"""Gives the address of a UNIX socket to the system, which takes 107 bytes of a path only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LONGEST = 100  # bytes; the kernel has 108 with a zero at the end (unix(7)), other systems 104


@contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """Return what `bind` and `connect` take for a path, while the context lasts. Raises OSError.

    A longer path is reached through its open folder, which Linux shows in /proc.
    """
    if len(os.fsencode(path)) <= _LONGEST:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
