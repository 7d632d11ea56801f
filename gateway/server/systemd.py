"""What systemd asks of a service: its notify socket and the sockets it hands over.

The only room that knows the variables of that protocol (sd_notify(3), sd_listen_fds(3)). They
are taken out of the environment, since they are for this process and not for its children.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping

import structlog

_log = structlog.get_logger("systemd")

_FIRST_DESCRIPTOR = 3
_MAX_DESCRIPTORS = 64
_SEND_TIMEOUT = 1.0  # seconds to wait for a supervisor that must be told
_MAX_STATUS = 400  # characters


class SystemdNotifier:
    """Tells the supervisor how the service is; does nothing where there is none.

    watchdog: within how many seconds the supervisor wants to hear `alive`, None for never.
    """

    def __init__(self, address: str = "", watchdog: float | None = None) -> None:
        self.watchdog = watchdog
        self._status: str | None = None  # there is none before the start is done
        self._socket: socket.socket | None = None
        # A leading @ stands for the NUL of Linux's abstract names; others are no socket.
        if address[:1] in ("/", "@"):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._address = "\0" + address[1:] if address[0] == "@" else address

    @classmethod
    def of(cls, environ: MutableMapping[str, str]) -> SystemdNotifier:
        """The one that an environment names, whose variables are taken out."""
        address = environ.pop("NOTIFY_SOCKET", "")
        usec, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        ours = not pid or pid == str(os.getpid())
        watchdog = int(usec) / 1e6 if ours and _number(usec) else None
        return cls(address, watchdog or None)

    @property
    def there(self) -> bool:
        """Whether there is one that listens."""
        return self._socket is not None

    def ready(self, status: str) -> None:
        """The start, or a reload, is done."""
        self._status = status
        self._send(f"READY=1\nSTATUS={_one_line(status)}", wait=_SEND_TIMEOUT)

    def reloading(self) -> None:
        """A reload begins; to be followed by `ready` whether it succeeds or not.

        The time is in the same datagram, by which systemd knows that it is the reload it
        asked for and not an older one.
        """
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now}", wait=_SEND_TIMEOUT)

    def stopping(self) -> None:
        """The shutdown begins."""
        self._send("STOPPING=1", wait=_SEND_TIMEOUT)

    def extend(self, seconds: float) -> None:
        """Have patience for so long from now on."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def status(self, text: str) -> None:
        """One line about the state; sent when it is another than before, from `ready` on."""
        if self._status not in (None, text):
            self._status = text
            self._send(f"STATUS={_one_line(text)}")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def close(self) -> None:
        """Tell nothing more."""
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
            # It restarts, or its queue is full: no reason to fail.
            name = message.partition("=")[0]
            _log.warning("notify_failed", what=name, reason=error.strerror or str(error))


def _one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MAX_STATUS else text[: _MAX_STATUS - 1] + "…"


def inherited_sockets(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """The listening sockets that were handed to this process; its variables are taken out.

    Raises OSError when one of them is no listening stream socket.
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not _number(count):
        return []
    number = min(int(count), _MAX_DESCRIPTORS)
    return [_listening(_FIRST_DESCRIPTOR + index) for index in range(number)]


def _listening(descriptor: int) -> socket.socket:
    os.set_inheritable(descriptor, False)
    found = socket.socket(fileno=descriptor)
    stream = found.type == socket.SOCK_STREAM
    if not (stream and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)):
        raise OSError(
            f"descriptor {descriptor}, which was handed over, is no listening stream socket; the "
            "socket unit wants ListenStream= and Accept=no"
        )
    found.setblocking(False)
    return found


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 16
