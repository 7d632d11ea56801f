"""Serves the admin API of a node: on a UNIX socket always, and over TCP if the settings say so."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from gateway.admin.api.application import build_admin_app, render_admin_error
from gateway.admin.api.authentication import AdminAuthentication
from gateway.admin.api.store_work import StoreWork
from gateway.admin.socket_address import socket_address
from gateway.config.settings import Config, ConfigError
from gateway.http.in_flight import InFlightRequests
from gateway.redaction import os_error_text
from gateway.server import listeners
from gateway.server.entrypoint import Entrypoint, open_entrypoint
from gateway.server.listeners import BACKLOG, ListenerLimits

if TYPE_CHECKING:
    from gateway.admin.node import Node
    from gateway.keys.manager import KeyManager

_log = structlog.get_logger("admin")

_MAX_CONNECTIONS = 64  # of each listener; pages and command lines are few
_HEAD_TIMEOUT = 10.0  # seconds
_WRITE_TIMEOUT = 30.0  # seconds
_SEND_BUFFER = 128 * 1024  # bytes


class AdminListener:
    """Holds the listeners of the admin API, and applies what a reload says of them.

    `open` comes first, so that an address in use ends the start before anything else is done.
    `stop` must follow, also after a failed start.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._sockets: list[socket.socket] = []  # over TCP, not yet served
        self._path: Path | None = None  # of the UNIX socket, once it is ours
        self._unix: socket.socket | None = None
        self._local: Entrypoint | None = None
        self._remote: Entrypoint | None = None
        self._node: Node | None = None
        self._work: StoreWork | None = None
        self._authentication: AdminAuthentication | None = None

    def open(self) -> None:
        """Open the sockets. Raises OSError when the address of `admin.listen` cannot be used.

        Without its UNIX socket the gateway serves all the same; the log says why.
        """
        self._sockets = _open_tcp(self._config)
        path = self._config.admin_socket
        try:
            self._unix = open_unix_socket(path)
            self._path = path
        except OSError as error:
            _log.warning("admin_socket_failed", file=str(path), reason=os_error_text(error))

    async def start(self, node: Node, manager: KeyManager | None) -> None:
        """Serve the admin API of a node. manager: changes keys; None without a store."""
        self._node = node
        self._work = None if manager is None else StoreWork(manager, node)
        self._authentication = AdminAuthentication(self._config, node.directory)
        if self._unix is not None:
            sockets, self._unix = [self._unix], None
            self._local = await self._serve(sockets)
        if self._sockets:
            sockets, self._sockets = self._sockets, []
            await self._serve_remote(sockets)

    @property
    def url(self) -> str | None:
        """Return the address of the TCP listener; None without one."""
        if self._remote is None:
            return None
        return listeners.url_of(self._remote.addresses[0])

    @contextmanager
    def prepared(self, config: Config) -> Iterator[None]:
        """Open the TCP sockets of new settings, which `configure` uses after this context.

        Raises ConfigError. If the context fails, they are closed and nothing has changed.
        """
        if config.admin.listen != self._config.admin.listen:
            try:
                self._sockets = _open_tcp(config)
            except OSError as error:
                text = f"{config.admin.listen} cannot be listened on: {os_error_text(error)}"
                raise ConfigError([f"admin.listen: {text}"]) from None
        try:
            yield
        except BaseException:
            listeners.close_listeners(self._sockets)
            self._sockets = []
            raise

    async def configure(self, config: Config) -> None:
        """Apply new settings, after `prepared`. The UNIX socket stays where it is."""
        former, self._config = self._config, config
        if self._authentication is None:
            return
        self._authentication.configure(config)
        if config.admin.listen == former.admin.listen:
            return
        sockets, self._sockets = self._sockets, []
        if self._remote is not None:
            remote, self._remote = self._remote, None
            await _close(remote)
        if sockets:
            await self._serve_remote(sockets)

    async def stop(self) -> None:
        """End the open requests and close everything; the file of the UNIX socket is removed."""
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink()
            self._path = None
        await asyncio.gather(*(_close(each) for each in (self._local, self._remote) if each))
        self._local = self._remote = None
        listeners.close_listeners([*self._sockets, *([self._unix] if self._unix else [])])
        self._sockets, self._unix = [], None
        if self._work is not None:
            await self._work.close()
            self._work = None

    async def _serve_remote(self, sockets: list[socket.socket]) -> None:
        self._remote = await self._serve(sockets)
        _log.info("admin_listening", url=self.url)

    async def _serve(self, sockets: list[socket.socket]) -> Entrypoint:
        assert self._node is not None
        assert self._authentication is not None
        in_flight = InFlightRequests()
        app = build_admin_app(self._node, self._work, self._authentication, in_flight)
        limits = ListenerLimits(_HEAD_TIMEOUT, _WRITE_TIMEOUT, _SEND_BUFFER, _MAX_CONNECTIONS)
        return await open_entrypoint(
            app, sockets, render=render_admin_error, limits=limits, in_flight=in_flight
        )


async def _close(entrypoint: Entrypoint) -> None:
    """Accept no more connections, end the open requests, and close all."""
    entrypoint.in_flight.closing = True
    for site in list(entrypoint.sites):
        await site.stop()
    await entrypoint.in_flight.interrupt()
    await entrypoint.cleanup()


def _open_tcp(config: Config) -> list[socket.socket]:
    address = config.admin.address
    return [] if address is None else listeners.open_listeners(*address)


def open_unix_socket(path: Path) -> socket.socket:
    """Open a listening UNIX socket that only its owner and root can use. Raises OSError.

    A file that a former process left is replaced. A socket on which another process listens is
    not: that raises OSError with EADDRINUSE.
    """
    path = path.absolute()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _is_served(path):
        raise OSError(errno.EADDRINUSE, "another gateway listens there")
    # It gets its mode in a folder that nobody else can enter, and its name then.
    with tempfile.TemporaryDirectory(prefix=".admin-", dir=path.parent) as folder:
        first = Path(folder) / "s"
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with socket_address(first) as address:
                listening.bind(address)
            first.chmod(0o600)
            listening.listen(BACKLOG)
            listening.setblocking(False)
            os.rename(first, path)
        except BaseException:
            listening.close()
            raise
    return listening


def _is_served(path: Path) -> bool:
    """Return whether a process listens on a UNIX socket. Raises OSError for another file."""
    if not path.exists():
        return False
    if not path.is_socket():
        raise OSError(errno.EEXIST, "it is there, and no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            with socket_address(path) as address:
                probe.connect(address)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
    return True
