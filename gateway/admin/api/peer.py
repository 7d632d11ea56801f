"""Finds out which user of this machine sits at the other end of a UNIX socket."""

from __future__ import annotations

import os
import pwd
import socket
import struct
from typing import Final

from aiohttp import web

_UCRED: Final = struct.Struct("3i")  # pid, uid, gid (unix(7))


def is_unix_socket(request: web.BaseRequest) -> bool:
    """Return whether a request came over a UNIX socket."""
    sock = None if request.transport is None else request.transport.get_extra_info("socket")
    return sock is not None and sock.family == socket.AF_UNIX


def local_actor(request: web.BaseRequest) -> str | None:
    """Return who sent a request over a UNIX socket, such as `local:root`.

    Returns None for others than root and the user that the gateway runs as. The socket's mode
    lets nobody else in; this is a second check.
    """
    uid = _peer_uid(request)
    if uid is None or uid not in (0, os.geteuid()):
        return None
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:  # a user that systemd has made up
        name = str(uid)
    return f"local:{name}"


def _peer_uid(request: web.BaseRequest) -> int | None:
    """Return the user of the other process, as the kernel tells it; None if it cannot.

    Where the system tells nothing (another than Linux), the mode of the socket has let in only
    root and the gateway's own user.
    """
    sock = None if request.transport is None else request.transport.get_extra_info("socket")
    if sock is None:
        return None
    if not hasattr(socket, "SO_PEERCRED"):
        return os.geteuid()
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    except OSError:
        return None
    uid: int = _UCRED.unpack(raw)[1]
    return uid
