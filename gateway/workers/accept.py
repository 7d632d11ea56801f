"""Taking connections from a socket that other processes listen on too."""

from __future__ import annotations

import asyncio
import errno
import socket
from dataclasses import dataclass
from typing import Any

import structlog
from aiohttp import web

_log = structlog.get_logger("workers")

_TOLERANCE = 1.0  # connections beyond its share that a worker takes without waiting
_YIELD = 0.003  # seconds
_PAUSE = 0.5  # seconds without taking connections when there are no descriptors for them
_OUT_OF_DESCRIPTORS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


@dataclass(slots=True)
class ConnectionShare:
    """How many connections this worker has, and how many the workers have on the average,
    both as of a moment ago."""

    own: int = 0
    mean: float = 0.0


class BalancedSite(web.BaseSite):
    """A listening socket of which one connection is taken at a time.

    The event loops' own servers take all that wait at once: of a burst of connections the
    first worker to wake would get every one, and keep the streams on them. Who has more than
    its share waits a moment before it takes another, so that the others can.
    """

    def __init__(
        self, runner: web.BaseRunner, listening: socket.socket, share: ConnectionShare
    ) -> None:
        super().__init__(runner)
        self._listening = listening
        self._share = share

    @property
    def name(self) -> str:
        """Where it listens."""
        return str(self._listening.getsockname())

    async def start(self) -> None:
        """Take connections from now on; `stop` closes the socket."""
        await super().start()
        server: Any = self._runner.server
        self._server: Any = _Acceptor(self._listening, server, self._share)

    async def stop(self) -> None:
        """Take no more; those that were taken are the runner's then."""
        acceptor = self._server
        await super().stop()
        if acceptor is not None:
            await acceptor.taken()


class _Acceptor:
    """What a site takes for an asyncio server."""

    def __init__(self, listening: socket.socket, factory: Any, share: ConnectionShare) -> None:
        self.sockets = [listening]
        self._share = share
        self._listening = listening
        self._factory = factory
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False
        self._waited = False
        self._begin()

    def close(self) -> None:
        """Take no more."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._listening)
            self._listening.close()

    async def taken(self) -> None:
        """Whatever was accepted has become a connection."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _begin(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._listening, self._accept)

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._listening)
        self._loop.call_later(seconds, self._begin)

    def _accept(self) -> None:
        if self._share.own > self._share.mean + _TOLERANCE and not self._waited:
            self._waited = True
            self._pause(_YIELD)
            return
        self._waited = False
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another worker was faster, or the caller left
        except OSError as error:
            if error.errno not in _OUT_OF_DESCRIPTORS:
                raise
            _log.error("connections_not_taken", reason=error.strerror, next_in=_PAUSE)
            self._pause(_PAUSE)
            return
        self._share.own += 1
        connection.setblocking(False)
        taking = self._loop.connect_accepted_socket(self._factory, connection)
        task = self._loop.create_task(taking)
        self._tasks.add(task)
        task.add_done_callback(self._taken)

    def _taken(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and isinstance(task.exception(), OSError):
            _log.debug("connection_not_taken", reason=str(task.exception()))
