"""Accepts connections from a socket that other processes listen on too."""

from __future__ import annotations

import asyncio
import errno
import socket
from dataclasses import dataclass
from typing import Any

import structlog
from aiohttp import web

from gateway.aiohttp_internals import SiteOfAcceptor
from gateway.redaction import os_error_text

_log = structlog.get_logger("workers")

_TOLERANCE = 1.0  # connections above the mean that a worker accepts without a delay
_DELAY = 0.003  # seconds that a worker above the mean waits before it accepts another
_PAUSE = 0.5  # seconds without accepting when the process has no free descriptors
_OUT_OF_DESCRIPTORS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


@dataclass(slots=True)
class ConnectionShare:
    """Holds the connections of this worker, and the mean of all workers.

    Both numbers may be a moment old.
    """

    own: int = 0
    mean: float = 0.0


class BalancedSite(SiteOfAcceptor):
    """Accepts one connection at a time from a listening socket.

    The servers of the event loops accept all waiting connections at once. So the first worker
    to wake would get a whole burst of connections, and keep the streams on them. Here a worker
    with more connections than the mean waits a moment, so that the other workers can accept.
    """

    def __init__(
        self, runner: web.BaseRunner, listening: socket.socket, share: ConnectionShare
    ) -> None:
        super().__init__(runner)
        self._factory = runner.server
        self._listening = listening
        self._share = share
        self._acceptor: _Acceptor | None = None

    @property
    def name(self) -> str:
        """Return the address of the socket."""
        return str(self._listening.getsockname())

    async def start(self) -> None:
        """Start to accept connections; `stop` closes the socket."""
        await super().start()
        self._acceptor = _Acceptor(self._listening, self._factory, self._share)
        self.use_acceptor(self._acceptor)

    async def stop(self) -> None:
        """Stop accepting. The runner then owns all accepted connections."""
        await super().stop()
        if self._acceptor is not None:
            await self._acceptor.wait_for_accepted()


class _Acceptor:
    """Replaces the asyncio server of an aiohttp site."""

    def __init__(self, listening: socket.socket, factory: Any, share: ConnectionShare) -> None:
        self.sockets = [listening]
        self._share = share
        self._listening = listening
        self._factory = factory
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False
        self._delayed = False
        self._resume()

    def close(self) -> None:
        """Stop accepting."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._listening)
            self._listening.close()

    async def wait_for_accepted(self) -> None:
        """Wait until every accepted socket has become a connection of the runner."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _resume(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._listening, self._accept)

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._listening)
        self._loop.call_later(seconds, self._resume)

    def _accept(self) -> None:
        if self._share.own > self._share.mean + _TOLERANCE and not self._delayed:
            self._delayed = True
            self._pause(_DELAY)
            return
        self._delayed = False
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another worker was faster, or the client disconnected
        except OSError as error:
            if error.errno not in _OUT_OF_DESCRIPTORS:
                raise
            _log.error("connections_not_taken", reason=os_error_text(error), next_in=_PAUSE)
            self._pause(_PAUSE)
            return
        self._share.own += 1
        connection.setblocking(False)
        connecting = self._loop.connect_accepted_socket(self._factory, connection)
        task = self._loop.create_task(connecting)
        self._tasks.add(task)
        task.add_done_callback(self._on_connected)

    def _on_connected(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, OSError):
            _log.debug("connection_not_taken", reason=os_error_text(error))
