"""How many callers there is room for, and the cheap refusal of those there is none for."""

from __future__ import annotations

import contextlib
import resource

_RESERVE = 64  # descriptors for listeners, logs, files, the session's own calls
_MAX_DESCRIPTORS = 65_536


class ConnectionLimit:
    """Counts connections against the process's descriptors.

    A connection is one descriptor and its request another, to the upstream; whoever was let in
    can be served.

    connections: how many there are now.
    """

    def __init__(self) -> None:
        self._room = _MAX_DESCRIPTORS
        self.connections = 0

    def limit(self, descriptors: int, connections: int | None = None) -> None:
        """descriptors: how many the process may have; connections: a limit of the operator's."""
        self._room = max(1, (descriptors - _RESERVE) // 2)
        if connections is not None:
            self._room = min(self._room, connections)

    @property
    def full(self) -> bool:
        """Whether one more connection is one too many."""
        return self.connections >= self._room


def descriptor_limit() -> int:
    """How many descriptors this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MAX_DESCRIPTORS if soft == resource.RLIM_INFINITY else min(soft, _MAX_DESCRIPTORS)


def raise_descriptor_limit() -> None:
    """Raise the soft limit to the hard one, since the soft one is meant for `select`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
