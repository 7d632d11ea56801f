"""One worker as its parent knows it: a process, a line to it, what it is at."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from gateway.config.settings import Config
from gateway.workers.rpc.channel import master_channel
from gateway.workers.rpc.messages import (
    DropRevision,
    FromWorker,
    Heartbeat,
    MeanConnections,
    PrepareRevision,
    ReopenLogs,
    RevisionDrained,
    RevisionReady,
    RevisionServing,
    ServeRevision,
    StartWorker,
    StopWorker,
)
from gateway.workers.rpc.server import MasterState, RpcServer
from gateway.workers.services.accounts import AccountService


class WorkerNotReady(OSError):
    """A worker cannot serve under some settings; the text says why."""


class WorkerProcess:
    """A worker. number: its place among the others, from 1 on.

    on_beat: told when its numbers are other ones. on_left: when it is done with the settings
    of an office.
    """

    def __init__(
        self,
        number: int,
        state: MasterState,
        *,
        on_beat: Callable[[], None],
        on_drained: Callable[[AccountService], None],
    ) -> None:
        self.number = number
        self.requests = self.connections = 0
        self.heard = time.monotonic()  # when it was heard of last
        self.serving = False
        self.services: dict[int, AccountService] = {}
        self._on_beat = on_beat
        self._on_drained = on_drained
        self._channel = master_channel(self._take, self._gone)
        self._rpc_server = RpcServer(state, self._channel.send)
        self._wanted: dict[tuple[type, int], asyncio.Future[None]] = {}
        self._lost = False
        self._process: asyncio.subprocess.Process

    async def start(self, sockets: list[socket.socket]) -> None:
        """Start the process, to listen on these sockets. Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            handed = [theirs.fileno(), *(sock.fileno() for sock in sockets)]
            try:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *("-m", "gateway.workers.worker"),
                    *map(str, handed),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=handed,
                    # Ctrl-C is for the parent, which tells the workers what to do.
                    start_new_session=True,
                )
            except BaseException:
                ours.close()
                raise
        await self._channel.open(ours)
        self._channel.send(StartWorker(self.number))

    @property
    def pid(self) -> int:
        return self._process.pid

    async def prepare(self, accounts: AccountService, config: Config) -> None:
        """Have it get ready for these settings. Raises CannotServe."""
        self.services[accounts.revision] = accounts
        self._rpc_server.pools[accounts.revision] = accounts.registry.pool
        accounts.tell(self._channel.send)
        ready = self._want(RevisionReady, accounts.revision)
        self._channel.send(PrepareRevision(accounts.revision, pickle.dumps(config)))
        await ready

    async def serve(self, accounts: AccountService) -> None:
        """Have it serve under settings for which it is ready. Raises CannotServe."""
        serving = self._want(RevisionServing, accounts.revision)
        self._channel.send(ServeRevision(accounts.revision))
        await serving
        self.serving = True

    def forget(self, accounts: AccountService) -> None:
        """Settings for which it got ready are not to be."""
        self._channel.send(DropRevision(accounts.revision))
        self._on_left(accounts.revision)

    def send_mean(self, connections: float) -> None:
        """Tell it how many connections the others have."""
        self._channel.send(MeanConnections(connections))

    def stop(self, seconds: float | None) -> None:
        """Have it end, at the latest after so many seconds if a number is given."""
        self._channel.send(StopWorker(seconds))

    def reopen(self) -> None:
        """Have it open its log files anew."""
        self._channel.send(ReopenLogs())

    def kill(self) -> None:
        """End it now."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def exit_status(self) -> int:
        """Its exit status, once it is gone; what it held has come back then."""
        status = await self._process.wait()
        self._gone()
        self._channel.close()
        return status

    def _want(self, kind: type, revision: int) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._lost:
            future.set_exception(WorkerNotReady("a worker has ended"))
            return future
        known = self._wanted.get((kind, revision))
        if known is None or known.done():
            known = self._wanted[kind, revision] = future
        return known

    def _take(self, message: FromWorker) -> None:
        match message:
            case Heartbeat():
                self.heard = time.monotonic()
                self.requests, self.connections = message.requests, message.connections
                self._on_beat()
            case RevisionReady() | RevisionServing():
                future = self._wanted.pop((type(message), message.revision), None)
                if future is None or future.done():
                    return
                if isinstance(message, RevisionReady) and message.fault:
                    future.set_exception(WorkerNotReady(message.fault))
                else:
                    future.set_result(None)
            case RevisionDrained():
                self._on_left(message.revision)
            case _:
                self._rpc_server.take(message)

    def _on_left(self, revision: int) -> None:
        self._rpc_server.pools.pop(revision, None)
        if accounts := self.services.pop(revision, None):
            accounts.unsubscribe(self._channel.send)
            self._on_drained(accounts)

    def _gone(self) -> None:
        if self._lost:
            return
        self._lost = True
        self.serving = False
        self.requests = self.connections = 0
        self._rpc_server.close()
        for revision in list(self.services):
            self._on_left(revision)
        wanted: dict[Any, asyncio.Future[None]]
        wanted, self._wanted = self._wanted, {}
        for future in wanted.values():
            if not future.done():
                future.set_exception(WorkerNotReady("a worker has ended"))
