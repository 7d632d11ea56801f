"""Implements how the master controls its workers: revisions, logs, stop, heartbeats.

In this service the master sends the requests, and the worker carries them out.
"""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from gateway.config.settings import Config
from gateway.errors import GatewayError, Unavailable
from gateway.workers.rpc.messages import RpcMessage, RpcRequest, RpcResponse
from gateway.workers.rpc.peer import RpcPeer

R = TypeVar("R", bound=RpcResponse)


class StartWorker(RpcMessage, frozen=True):
    """Tells a new worker its number, for the log."""

    number: int


class RevisionReady(RpcResponse, frozen=True):
    """Reports that the worker has prepared a revision, or why it cannot.

    fault: why it cannot; empty if it can.
    """

    fault: str


class PrepareRevision(RpcRequest[RevisionReady], frozen=True):
    """Asks a worker to prepare an application with these settings.

    settings: a pickled `Config`. Unpickling it is safe: it comes from the master's own memory.
    """

    revision: int
    settings: bytes


class RevisionServing(RpcResponse, frozen=True):
    """Reports that new requests are served with the revision."""


class ServeRevision(RpcRequest[RevisionServing], frozen=True):
    """Asks a worker to serve with a revision that it has prepared."""

    revision: int


class DropRevision(RpcMessage, frozen=True):
    """Asks a worker to drop a revision that it has prepared: a reload failed."""

    revision: int


class RevisionDrained(RpcMessage, frozen=True):
    """Reports that the last request of this revision has ended."""

    revision: int


class Heartbeat(RpcMessage, frozen=True):
    """Reports that the event loop of the worker is alive, and how much is open.

    loses_rows: whether the worker cannot write rows of the ledger to its spool.
    """

    requests: int
    connections: int
    loses_rows: bool


class MeanConnections(RpcMessage, frozen=True):
    """Tells how many connections a worker has on average."""

    connections: float


class LedgerState(RpcMessage, frozen=True):
    """Tells whether rows of the ledger come late or are lost, in any process."""

    degraded: bool


class ReopenLogs(RpcMessage, frozen=True):
    """Asks a worker to reopen its log files."""


class StopWorker(RpcMessage, frozen=True):
    """Asks a worker to stop listening, drain and end.

    seconds: how long open requests may take; None for no limit.
    """

    seconds: float | None


class WorkerNotReady(OSError):
    """Reports that a worker cannot serve with some settings; the text says why."""


class WorkerControl:
    """Sends commands to one worker, in the master.

    on_heartbeat: called regularly with the numbers of open requests and connections, and
        with whether the worker loses rows of the ledger.
    on_drained: called with the number of a revision that the worker uses no longer.
    """

    def __init__(
        self,
        rpc: RpcPeer,
        *,
        on_heartbeat: Callable[[int, int, bool], None],
        on_drained: Callable[[int], None],
    ) -> None:
        self._rpc = rpc
        rpc.register(
            {
                Heartbeat: lambda message: on_heartbeat(
                    message.requests, message.connections, message.loses_rows
                ),
                RevisionDrained: lambda message: on_drained(message.revision),
            },
            responses=(RevisionReady, RevisionServing),
        )

    def start(self, number: int) -> None:
        """Tell a new worker its number."""
        self._rpc.send(StartWorker(number))

    async def prepare(self, revision: int, config: Config) -> None:
        """Make the worker prepare these settings, and wait for it. Raises WorkerNotReady."""
        number = self._rpc.next_call_id()
        request = PrepareRevision(number, revision, pickle.dumps(config))
        ready = await self._call(request)
        if ready.fault:
            raise WorkerNotReady(ready.fault)

    async def serve(self, revision: int) -> None:
        """Make the worker serve with settings that it has prepared. Raises WorkerNotReady."""
        await self._call(ServeRevision(self._rpc.next_call_id(), revision))

    def drop(self, revision: int) -> None:
        """Make the worker drop settings that it has prepared."""
        self._rpc.send(DropRevision(revision))

    def send_mean(self, connections: float) -> None:
        """Send the worker the mean number of connections of all workers."""
        self._rpc.send(MeanConnections(connections))

    def send_ledger_state(self, degraded: bool) -> None:
        """Tell the worker whether rows come late or are lost, in any process."""
        self._rpc.send(LedgerState(degraded))

    def reopen_logs(self) -> None:
        """Make the worker reopen its log files."""
        self._rpc.send(ReopenLogs())

    def stop(self, seconds: float | None) -> None:
        """Make the worker drain and end; see `StopWorker`."""
        self._rpc.send(StopWorker(seconds))

    async def _call(self, request: RpcRequest[R]) -> R:
        try:
            return await self._rpc.call(request, None)  # the supervisor limits the time
        except GatewayError as error:
            raise WorkerNotReady(error.message) from None


class WorkerCommands:
    """Carries out the commands of the master, in a worker.

    Those for revisions take time. They run one after the other, in the order they arrived.

    on_start: called with the number of the worker.
    prepare: prepares a revision with pickled settings, and returns why it cannot, or "".
    serve, drop: are called with the revision.
    on_mean: called with the mean number of connections. on_stop: see `StopWorker`.
    on_ledger: called with whether rows come late or are lost, in any process.
    """

    def __init__(
        self,
        rpc: RpcPeer,
        *,
        on_start: Callable[[int], None],
        prepare: Callable[[int, bytes], Awaitable[str]],
        serve: Callable[[int], Awaitable[None]],
        drop: Callable[[int], Awaitable[None]],
        on_mean: Callable[[float], None],
        on_ledger: Callable[[bool], None],
        on_reopen_logs: Callable[[], None],
        on_stop: Callable[[float | None], None],
    ) -> None:
        self._rpc = rpc
        self._prepare, self._serve, self._drop = prepare, serve, drop
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[object]] = set()
        self._closed = False
        rpc.register(
            {
                StartWorker: lambda message: on_start(message.number),
                PrepareRevision: self._prepare_in_turn,
                ServeRevision: self._serve_in_turn,
                DropRevision: self._start_drop,
                MeanConnections: lambda message: on_mean(message.connections),
                LedgerState: lambda message: on_ledger(message.degraded),
                ReopenLogs: lambda _: on_reopen_logs(),
                StopWorker: lambda message: on_stop(message.seconds),
            }
        )

    def send_heartbeat(self, requests: int, connections: int, *, loses_rows: bool) -> None:
        """Report that the worker is alive; see `Heartbeat`."""
        self._rpc.send(Heartbeat(requests, connections, loses_rows))

    def report_drained(self, revision: int) -> None:
        """Report that the last request of this revision has ended."""
        self._rpc.send(RevisionDrained(revision))

    def close(self) -> None:
        """Carry out no more commands for revisions, and cancel those that have begun."""
        self._closed = True
        for task in self._tasks:
            task.cancel()

    async def closed(self) -> None:
        """Wait until the commands that `close` has cancelled have ended."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _prepare_in_turn(self, request: PrepareRevision) -> RevisionReady:
        async with self._in_turn():
            fault = await self._prepare(request.revision, request.settings)
        return RevisionReady(request.call, fault)

    async def _serve_in_turn(self, request: ServeRevision) -> RevisionServing:
        async with self._in_turn():
            await self._serve(request.revision)
        return RevisionServing(request.call)

    def _start_drop(self, message: DropRevision) -> None:
        task = asyncio.create_task(self._drop_in_turn(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _drop_in_turn(self, message: DropRevision) -> None:
        async with self._in_turn():
            await self._drop(message.revision)

    @asynccontextmanager
    async def _in_turn(self) -> AsyncIterator[None]:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            async with self._turn:
                if self._closed:
                    raise Unavailable("The worker is stopping.")
                yield
        finally:
            self._tasks.discard(task)
