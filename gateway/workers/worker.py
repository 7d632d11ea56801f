"""A worker: a process that serves under the eyes of its parent.

Its arguments are descriptors: of the line to the parent, then of the sockets to listen on.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import socket
import sys
from typing import Any

import structlog

from gateway.app import render_error
from gateway.http.in_flight import InFlightRequests
from gateway.observability import tracebacks
from gateway.server import run as life
from gateway.server import single_process
from gateway.server.entrypoint import Entrypoint
from gateway.workers.accept import BalancedSite, ConnectionShare
from gateway.workers.revisions import Revisions
from gateway.workers.rpc.client import RpcClient
from gateway.workers.rpc.messages import (
    AccountsState,
    CompletionSuperseded,
    DropRevision,
    FromMaster,
    Heartbeat,
    MeanConnections,
    ModelsChanged,
    PrepareRevision,
    ReopenLogs,
    ServeRevision,
    StartWorker,
    StopWorker,
)

_log = structlog.get_logger("workers")

_HEARTBEAT = 1.0  # seconds between signs of life
_POLL = 0.05  # seconds between two of them when there are other connections


class Worker:
    """What the parent says, carried out. sockets: to listen on, which are the worker's."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        self._sockets = sockets
        self.rpc = RpcClient(self._told, self._lost)
        self._stop = asyncio.Event()
        self._seconds: float | None = None  # that requests may go on after `stop`
        self._orphaned = False
        self._share = ConnectionShare()
        self._in_flight = InFlightRequests()
        self._entrypoint = Entrypoint(self._in_flight, render_error)
        self._listening = False
        self._revisions = Revisions(self._entrypoint, self.rpc)
        self._commands: asyncio.Queue[PrepareRevision | ServeRevision | DropRevision] = (
            asyncio.Queue()
        )

    async def run(self) -> int:
        """Serve until the parent says otherwise or is gone. Returns the exit status."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._end, None)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        await self._entrypoint.setup()
        tasks = [asyncio.create_task(self._obey()), asyncio.create_task(self._beat())]
        await self._stop.wait()
        tasks[0].cancel()
        if self._orphaned:
            _log.error("parent_gone")
        seconds = self._revisions.drain_timeout if self._orphaned else self._seconds
        await single_process.stop_entrypoint(
            self._entrypoint, math.inf if seconds is None else seconds
        )
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._revisions.close()
        self.rpc.close()
        return 1 if self._orphaned else 0

    def _told(self, message: FromMaster) -> None:
        match message:
            case StartWorker():
                self._revisions.number = message.number
            case PrepareRevision() | ServeRevision() | DropRevision():
                self._commands.put_nowait(message)
            case AccountsState() | ModelsChanged():
                self._revisions.told(message)
            case CompletionSuperseded():
                self._revisions.newest_completions.superseded(message.completion)
            case MeanConnections():
                self._share.mean = message.connections
            case ReopenLogs():
                self._revisions.reopen()
            case StopWorker():
                self._end(message.seconds)

    def _lost(self) -> None:
        """Without a parent nobody knows the limits: what is under way may end, no more."""
        self._orphaned = True
        self._end(self._revisions.drain_timeout)

    def _end(self, seconds: float | None) -> None:
        """Take no more requests, and let go on for so long what is under way."""
        if not self._stop.is_set():
            self._seconds = seconds
            self._stop.set()
        elif seconds is not None:  # it had been given more
            loop = asyncio.get_running_loop()
            loop.call_later(seconds, lambda: loop.create_task(self._in_flight.interrupt()))

    async def _obey(self) -> None:
        """Carry out what takes time, in the order in which it was asked for."""
        while True:
            match await self._commands.get():
                case PrepareRevision() as order:
                    await self._revisions.prepare(order.revision, order.settings)
                case ServeRevision() as order:
                    self._revisions.serve(order.revision)
                    if not self._listening:
                        self._listening = True
                        single_process.tune_garbage_collector()
                        await single_process.accept_connections(
                            self._entrypoint, self._sockets, self._site
                        )
                    self._revisions.serving(order.revision)
                case DropRevision() as order:
                    await self._revisions.forget(order.revision)

    def _site(self, entrypoint: Entrypoint, listening: socket.socket) -> Any:
        return BalancedSite(entrypoint, listening, self._share)

    async def _beat(self) -> None:
        told, waited = (-1, -1), 0.0
        while True:
            server_ = self._entrypoint.server
            connections = len(server_.connections) if server_ is not None else 0
            self._share.own = connections
            now = self._in_flight.active, connections
            if waited >= _HEARTBEAT or now[1] != told[1]:
                self.rpc.tell(Heartbeat(*now))
                told, waited = now, 0.0
            await asyncio.sleep(_POLL)
            waited += _POLL


async def run_worker(line: socket.socket, sockets: list[socket.socket]) -> int:
    """Be a worker with this line to its parent; returns the exit status."""
    worker = Worker(sockets)
    await worker.rpc.open(line)
    return await worker.run()


def main() -> int:
    """Be a worker."""
    sys.excepthook = tracebacks.print_fatal_exception
    tracebacks.log_uncaught_exceptions()
    line, *sockets = (socket.socket(fileno=int(text)) for text in sys.argv[1:])
    for sock in (line, *sockets):
        sock.setblocking(False)
    with contextlib.suppress(KeyboardInterrupt):
        return life.run_event_loop(run_worker(line, sockets))
    return 1


if __name__ == "__main__":
    sys.exit(main())
