"""Implements the master's side of one worker: its process, its channel and its state."""

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
    """Reports that a worker cannot serve with some settings; the text says why."""


class WorkerProcess:
    """Starts and controls one worker process.

    number: identifies the worker in the log, from 1 up. A worker that replaces another has the
        same number.
    on_heartbeat: called after each heartbeat.
    on_drained: called with the accounts of a configuration that the worker no longer uses.

    requests, connections: open ones, by the last heartbeat.
    last_heartbeat: monotonic time.
    serving: whether the worker accepts requests.
    services: the accounts of each configuration that the worker uses, by revision.
    """

    def __init__(
        self,
        number: int,
        state: MasterState,
        *,
        on_heartbeat: Callable[[], None],
        on_drained: Callable[[AccountService], None],
    ) -> None:
        self.number = number
        self.requests = self.connections = 0
        self.last_heartbeat = time.monotonic()
        self.serving = False
        self.services: dict[int, AccountService] = {}
        self._on_heartbeat = on_heartbeat
        self._on_drained = on_drained
        self._channel = master_channel(self._on_message, self._on_exit)
        self._rpc_server = RpcServer(state, self._channel.send)
        self._expected: dict[tuple[type, int], asyncio.Future[None]] = {}
        self._exited = False
        self._process: asyncio.subprocess.Process

    async def start(self, sockets: list[socket.socket]) -> None:
        """Start the process, which inherits these listening sockets. Raises OSError."""
        own_end, worker_end = socket.socketpair()
        with worker_end:
            inherited = [worker_end.fileno(), *(sock.fileno() for sock in sockets)]
            try:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *("-m", "gateway.workers.worker"),
                    *map(str, inherited),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=inherited,
                    # So that Ctrl-C reaches the master only, which then stops the workers.
                    start_new_session=True,
                )
            except BaseException:
                own_end.close()
                raise
        await self._channel.open(own_end)
        self._channel.send(StartWorker(self.number))

    @property
    def pid(self) -> int:
        return self._process.pid

    async def prepare(self, accounts: AccountService, config: Config) -> None:
        """Make the worker prepare these settings, and wait for it. Raises WorkerNotReady."""
        self.services[accounts.revision] = accounts
        self._rpc_server.pools[accounts.revision] = accounts.registry.pool
        accounts.subscribe(self._channel.send)
        ready = self._expect(RevisionReady, accounts.revision)
        self._channel.send(PrepareRevision(accounts.revision, pickle.dumps(config)))
        await ready

    async def serve(self, accounts: AccountService) -> None:
        """Make the worker serve with settings that it has prepared. Raises WorkerNotReady."""
        serving = self._expect(RevisionServing, accounts.revision)
        self._channel.send(ServeRevision(accounts.revision))
        await serving
        self.serving = True

    def drop(self, accounts: AccountService) -> None:
        """Make the worker drop settings that it has prepared."""
        self._channel.send(DropRevision(accounts.revision))
        self._release_revision(accounts.revision)

    def send_mean(self, connections: float) -> None:
        """Send the worker the mean number of connections of all workers."""
        self._channel.send(MeanConnections(connections))

    def stop(self, seconds: float | None) -> None:
        """Make the worker drain and end.

        seconds: how long open requests may take; None for no limit.
        """
        self._channel.send(StopWorker(seconds))

    def reopen_logs(self) -> None:
        """Make the worker reopen its log files."""
        self._channel.send(ReopenLogs())

    def kill(self) -> None:
        """End the process at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def exit_status(self) -> int:
        """Wait for the process to end, release all that it held, and return its exit status."""
        status = await self._process.wait()
        self._on_exit()
        self._channel.close()
        return status

    def _expect(self, kind: type, revision: int) -> asyncio.Future[None]:
        """Return a future that is done when the worker sends this message for this revision."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._exited:
            future.set_exception(WorkerNotReady("a worker has ended"))
            return future
        pending = self._expected.get((kind, revision))
        if pending is None or pending.done():
            pending = self._expected[kind, revision] = future
        return pending

    def _on_message(self, message: FromWorker) -> None:
        match message:
            case Heartbeat():
                self.last_heartbeat = time.monotonic()
                self.requests, self.connections = message.requests, message.connections
                self._on_heartbeat()
            case RevisionReady() | RevisionServing():
                future = self._expected.pop((type(message), message.revision), None)
                if future is None or future.done():
                    return
                if isinstance(message, RevisionReady) and message.fault:
                    future.set_exception(WorkerNotReady(message.fault))
                else:
                    future.set_result(None)
            case RevisionDrained():
                self._release_revision(message.revision)
            case _:
                self._rpc_server.receive(message)

    def _release_revision(self, revision: int) -> None:
        self._rpc_server.pools.pop(revision, None)
        if accounts := self.services.pop(revision, None):
            accounts.unsubscribe(self._channel.send)
            self._on_drained(accounts)

    def _on_exit(self) -> None:
        if self._exited:
            return
        self._exited = True
        self.serving = False
        self.requests = self.connections = 0
        self._rpc_server.close()
        for revision in list(self.services):
            self._release_revision(revision)
        expected: dict[Any, asyncio.Future[None]]
        expected, self._expected = self._expected, {}
        for future in expected.values():
            if not future.done():
                future.set_exception(WorkerNotReady("a worker has ended"))
