"""Implements systemd's protocols for services: notifications and socket activation.

This is the only module that knows the environment variables of sd_notify(3) and
sd_listen_fds(3). They are removed from the environment, since they are for this process and not
for its children.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping

import structlog

from gateway.redaction import os_error_text

_log = structlog.get_logger("systemd")

_FIRST_DESCRIPTOR = 3
_MAX_DESCRIPTORS = 64
_SEND_TIMEOUT = 1.0  # seconds that a message which must not be lost may wait
_MAX_STATUS = 400  # characters


class SystemdNotifier:
    """Sends the state of the service to systemd; does nothing without a notify socket.

    address: of the notify socket; empty for none.
    watchdog: systemd expects a call of `alive` within this many seconds; None for never.
    """

    def __init__(self, address: str = "", watchdog: float | None = None) -> None:
        self.watchdog = watchdog
        self._status: str | None = None  # None until `ready` was called
        self._socket: socket.socket | None = None
        # A leading @ stands for the NUL byte of Linux's abstract socket names.
        if address[:1] in ("/", "@"):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._address = "\0" + address[1:] if address[0] == "@" else address

    @classmethod
    def from_environ(cls, environ: MutableMapping[str, str]) -> SystemdNotifier:
        """Create a notifier from the variables of systemd, and remove them from `environ`."""
        address = environ.pop("NOTIFY_SOCKET", "")
        usec, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        for_this_process = not pid or pid == str(os.getpid())
        watchdog = int(usec) / 1e6 if for_this_process and _is_number(usec) else None
        return cls(address, watchdog or None)

    @property
    def enabled(self) -> bool:
        """Return whether there is a notify socket."""
        return self._socket is not None

    def ready(self, status: str) -> None:
        """Report that the start or a reload is done."""
        self._status = status
        self._send(f"READY=1\nSTATUS={_one_line(status)}", wait=_SEND_TIMEOUT)

    def reloading(self) -> None:
        """Report that a reload begins; `ready` must follow whether it succeeds or not.

        The same datagram has the time, so that systemd can tell this reload from an older one.
        """
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now}", wait=_SEND_TIMEOUT)

    def stopping(self) -> None:
        """Report that the shutdown begins."""
        self._send("STOPPING=1", wait=_SEND_TIMEOUT)

    def extend(self, seconds: float) -> None:
        """Ask systemd to extend its timeout by this many seconds from now."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def status(self, text: str) -> None:
        """Send a status line if it has changed; does nothing before `ready`."""
        if self._status not in (None, text):
            self._status = text
            self._send(f"STATUS={_one_line(text)}")

    def alive(self) -> None:
        """Report to the watchdog that the process is alive."""
        self._send("WATCHDOG=1")

    def close(self) -> None:
        """Close the socket; nothing is sent after that."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str, *, wait: float = 0.0) -> None:
        if self._socket is None:
            return
        try:
            self._socket.settimeout(wait)
            self._socket.sendto(message.encode("utf-8", "replace"), self._address)
        except OSError as error:
            # systemd restarts, or its queue is full: the gateway must not fail for that.
            name = message.partition("=")[0]
            _log.warning("notify_failed", what=name, reason=os_error_text(error))


def _one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MAX_STATUS else text[: _MAX_STATUS - 1] + "…"


def inherited_sockets(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """Return the listening sockets that systemd passed to this process.

    Removes the variables from `environ`. Raises OSError when one of the descriptors is not a
    listening stream socket.
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not _is_number(count):
        return []
    number = min(int(count), _MAX_DESCRIPTORS)
    return [_listening_socket(_FIRST_DESCRIPTOR + index) for index in range(number)]


def _listening_socket(descriptor: int) -> socket.socket:
    os.set_inheritable(descriptor, False)
    listening = socket.socket(fileno=descriptor)
    stream = listening.type == socket.SOCK_STREAM
    if not (stream and listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)):
        raise OSError(
            f"descriptor {descriptor}, which systemd passed, is not a listening stream socket; "
            "the socket unit needs ListenStream= and Accept=no"
        )
    listening.setblocking(False)
    return listening


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 16
