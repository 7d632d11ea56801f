"""Limits the number of client connections by the file descriptors of the process."""

from __future__ import annotations

import contextlib
import resource

_RESERVE = 64  # descriptors for listeners, logs, files and logins
_MAX_DESCRIPTORS = 65_536


class ConnectionLimit:
    """Counts client connections and compares them with a maximum.

    Each connection needs two descriptors: its own, and one for its request to the upstream. So
    a connection that is accepted can also be served.

    connections: how many are open now.
    """

    def __init__(self) -> None:
        self._max_connections = _MAX_DESCRIPTORS
        self.connections = 0

    def limit(self, descriptors: int, connections: int | None = None) -> None:
        """Set the maximum.

        descriptors: how many the process may open.
        connections: `server.max_connections`; has no effect if it is higher than the
            descriptors allow.
        """
        self._max_connections = max(1, (descriptors - _RESERVE) // 2)
        if connections is not None:
            self._max_connections = min(self._max_connections, connections)

    @property
    def full(self) -> bool:
        """Return whether no further connection is allowed."""
        return self.connections >= self._max_connections


def descriptor_limit() -> int:
    """Return how many descriptors this process may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MAX_DESCRIPTORS if soft == resource.RLIM_INFINITY else min(soft, _MAX_DESCRIPTORS)


def raise_descriptor_limit() -> None:
    """Raise the soft limit of descriptors to the hard one, at most to 65536.

    Systems keep the soft limit low for programs that use `select`; the gateway does not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
