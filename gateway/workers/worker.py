"""Runs a worker process: it serves requests and does what its master sends.

The arguments of the process are descriptors: first of the channel to the master, then of the
listening sockets.
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

from gateway.app import CONFIG, render_without_route
from gateway.errors import Unavailable
from gateway.http.in_flight import InFlightRequests
from gateway.observability import tracebacks
from gateway.server import single_process
from gateway.server.entrypoint import Entrypoint, accept_connections
from gateway.server.listeners import limits_of
from gateway.server.run import run_event_loop
from gateway.workers.accept import BalancedSite, ConnectionShare
from gateway.workers.revisions import Revisions
from gateway.workers.rpc.peer import RpcPeer
from gateway.workers.services.composition import WorkerClients
from gateway.workers.services.control import WorkerCommands

_log = structlog.get_logger("workers")

_HEARTBEAT = 1.0  # seconds between two heartbeats
_POLL = 0.05  # seconds between them while the number of connections changes


class Worker:
    """Serves requests, and carries out the messages of the master.

    sockets: the listening sockets. The worker closes them.
    """

    def __init__(self, sockets: list[socket.socket]) -> None:
        self._sockets = sockets
        self._rpc = RpcPeer(_no_master_error)
        self._rpc.register(on_lost=self._on_master_lost)
        self._stopping = asyncio.Event()
        self._drain_timeout: float | None = None  # seconds, None for no limit; set with the event
        self._master_lost = False
        self._share = ConnectionShare()
        self._in_flight = InFlightRequests()
        self._entrypoint = Entrypoint(self._in_flight, render_without_route)
        self._listening = False
        self._revisions = Revisions(
            self._entrypoint, WorkerClients(self._rpc), on_drained=self._on_drained
        )
        self._commands = WorkerCommands(
            self._rpc,
            on_start=self._revisions.set_number,
            prepare=self._revisions.prepare,
            serve=self._serve,
            drop=self._revisions.drop,
            on_mean=self._set_mean,
            on_ledger=self._revisions.set_ledger_degraded,
            on_reopen_logs=self._revisions.reopen_logs,
            on_stop=self._request_stop,
        )

    async def run(self, channel: socket.socket) -> int:
        """Serve until the master stops the worker or has ended. Returns the exit status.

        channel: the worker's end of the channel to the master.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._request_stop, None)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        await self._entrypoint.setup()
        await self._rpc.open(channel)
        heartbeats = asyncio.create_task(self._send_heartbeats())
        await self._stopping.wait()
        self._commands.close()
        if self._master_lost:
            _log.error("parent_gone")
        seconds = self._revisions.drain_timeout if self._master_lost else self._drain_timeout
        await single_process.stop_entrypoint(
            self._entrypoint, math.inf if seconds is None else seconds
        )
        heartbeats.cancel()
        await asyncio.gather(heartbeats, self._commands.closed(), return_exceptions=True)
        await self._revisions.close()
        self._rpc.close()
        return 1 if self._master_lost else 0

    def _on_master_lost(self) -> None:
        """Drain and end: without the master no limit is known, so new requests are refused."""
        self._master_lost = True
        self._request_stop(self._revisions.drain_timeout)

    def _request_stop(self, seconds: float | None) -> None:
        """Start to drain. If that has begun, only limit how long it may take from now on.

        seconds: how long open requests may take; None for no limit.
        """
        if not self._stopping.is_set():
            self._drain_timeout = seconds
            self._stopping.set()
        elif seconds is not None:
            loop = asyncio.get_running_loop()
            loop.call_later(seconds, lambda: loop.create_task(self._in_flight.interrupt()))

    async def _serve(self, revision: int) -> None:
        """Serve with a prepared revision; the first one starts to listen."""
        self._revisions.serve(revision)
        if not self._listening:
            self._listening = True
            single_process.tune_memory()
            limits = limits_of(self._entrypoint.app[CONFIG])
            await accept_connections(self._entrypoint, self._sockets, limits, self._site)

    def _on_drained(self, revision: int) -> None:
        self._commands.report_drained(revision)

    def _set_mean(self, connections: float) -> None:
        self._share.mean = connections

    def _site(self, entrypoint: Entrypoint, listening: socket.socket) -> Any:
        return BalancedSite(entrypoint, listening, self._share)

    async def _send_heartbeats(self) -> None:
        sent_connections, waited = -1, 0.0
        while True:
            server = self._entrypoint.server
            connections = len(server.connections) if server is not None else 0
            self._share.own = connections
            if waited >= _HEARTBEAT or connections != sent_connections:
                self._commands.send_heartbeat(
                    self._in_flight.active, connections, loses_rows=self._revisions.loses_rows
                )
                sent_connections, waited = connections, 0.0
            await asyncio.sleep(_POLL)
            waited += _POLL


def _no_master_error() -> Unavailable:
    return Unavailable(
        "The gateway is being restarted; please try again.", code="draining", retry_after=1.0
    )


async def run_worker(channel: socket.socket, sockets: list[socket.socket]) -> int:
    """Run a worker with these sockets; return the exit status."""
    return await Worker(sockets).run(channel)


def main() -> int:
    """Run a worker with the descriptors of the command line; return the exit status."""
    sys.excepthook = tracebacks.print_fatal_exception
    tracebacks.log_uncaught_exceptions()
    channel, *sockets = (socket.socket(fileno=int(text)) for text in sys.argv[1:])
    for sock in (channel, *sockets):
        sock.setblocking(False)
    with contextlib.suppress(KeyboardInterrupt):
        return run_event_loop(run_worker(channel, sockets))
    return 1


if __name__ == "__main__":
    sys.exit(main())
