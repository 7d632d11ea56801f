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
        commons: MasterState,
        *,
        on_beat: Callable[[], None],
        on_left: Callable[[AccountService], None],
    ) -> None:
        self.number = number
        self.requests = self.connections = 0
        self.heard = time.monotonic()  # when it was heard of last
        self.serving = False
        self.offices: dict[int, AccountService] = {}
        self._on_beat = on_beat
        self._on_left = on_left
        self._link = master_channel(self._take, self._gone)
        self._desk = RpcServer(commons, self._link.send)
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
        await self._link.open(ours)
        self._link.send(StartWorker(self.number))

    @property
    def pid(self) -> int:
        return self._process.pid

    async def prepare(self, office: AccountService, config: Config) -> None:
        """Have it get ready for these settings. Raises CannotServe."""
        self.offices[office.shift] = office
        self._desk.pools[office.shift] = office.keeper.pool
        office.tell(self._link.send)
        ready = self._want(RevisionReady, office.shift)
        self._link.send(PrepareRevision(office.shift, pickle.dumps(config)))
        await ready

    async def serve(self, office: AccountService) -> None:
        """Have it serve under settings for which it is ready. Raises CannotServe."""
        serving = self._want(RevisionServing, office.shift)
        self._link.send(ServeRevision(office.shift))
        await serving
        self.serving = True

    def forget(self, office: AccountService) -> None:
        """Settings for which it got ready are not to be."""
        self._link.send(DropRevision(office.shift))
        self._left(office.shift)

    def tell_mean(self, connections: float) -> None:
        """Tell it how many connections the others have."""
        self._link.send(MeanConnections(connections))

    def stop(self, seconds: float | None) -> None:
        """Have it end, at the latest after so many seconds if a number is given."""
        self._link.send(StopWorker(seconds))

    def reopen(self) -> None:
        """Have it open its log files anew."""
        self._link.send(ReopenLogs())

    def kill(self) -> None:
        """End it now."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def exit_status(self) -> int:
        """Its exit status, once it is gone; what it held has come back then."""
        status = await self._process.wait()
        self._gone()
        self._link.close()
        return status

    def _want(self, kind: type, shift: int) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._lost:
            future.set_exception(WorkerNotReady("a worker has ended"))
            return future
        known = self._wanted.get((kind, shift))
        if known is None or known.done():
            known = self._wanted[kind, shift] = future
        return known

    def _take(self, message: FromWorker) -> None:
        match message:
            case Heartbeat():
                self.heard = time.monotonic()
                self.requests, self.connections = message.requests, message.connections
                self._on_beat()
            case RevisionReady() | RevisionServing():
                future = self._wanted.pop((type(message), message.shift), None)
                if future is None or future.done():
                    return
                if isinstance(message, RevisionReady) and message.fault:
                    future.set_exception(WorkerNotReady(message.fault))
                else:
                    future.set_result(None)
            case RevisionDrained():
                self._left(message.shift)
            case _:
                self._desk.take(message)

    def _left(self, shift: int) -> None:
        self._desk.pools.pop(shift, None)
        if office := self.offices.pop(shift, None):
            office.tell_no_more(self._link.send)
            self._on_left(office)

    def _gone(self) -> None:
        if self._lost:
            return
        self._lost = True
        self.serving = False
        self.requests = self.connections = 0
        self._desk.close()
        for shift in list(self.offices):
            self._left(shift)
        wanted: dict[Any, asyncio.Future[None]]
        wanted, self._wanted = self._wanted, {}
        for future in wanted.values():
            if not future.done():
                future.set_exception(WorkerNotReady("a worker has ended"))
