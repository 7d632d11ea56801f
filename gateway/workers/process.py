"""Implements the master's side of one worker: its process, its channel and its state."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import Callable

from gateway.config.settings import Config
from gateway.workers.rpc.peer import RpcPeer
from gateway.workers.services.accounts import MasterAccounts
from gateway.workers.services.composition import MasterState, WorkerServers
from gateway.workers.services.control import WorkerControl, WorkerNotReady


class WorkerProcess:
    """Starts and controls one worker process.

    number: identifies the worker in the log, from 1 up. A worker that replaces another has the
        same number.
    on_heartbeat: called after each heartbeat.
    on_drained: called with the accounts of a configuration that the worker no longer uses.

    requests, connections: open ones, by the last heartbeat.
    loses_rows: whether it could not write rows of the ledger then.
    last_heartbeat: monotonic time.
    serving: whether the worker accepts requests.
    accounts: those of each configuration that the worker uses, by revision.
    live: asks the worker for its open requests.
    """

    def __init__(
        self,
        number: int,
        state: MasterState,
        *,
        on_heartbeat: Callable[[], None],
        on_drained: Callable[[MasterAccounts], None],
    ) -> None:
        self.number = number
        self.requests = self.connections = 0
        self.loses_rows = False
        self._ledger_degraded = False  # what the worker knows
        self.last_heartbeat = time.monotonic()
        self.serving = False
        self._on_heartbeat = on_heartbeat
        self._on_drained = on_drained
        self._rpc = RpcPeer(lambda: WorkerNotReady("a worker has ended"))
        self._servers = WorkerServers(self._rpc, state)
        self._control = WorkerControl(
            self._rpc, on_heartbeat=self._note_heartbeat, on_drained=self._release_revision
        )
        # Registered last: first the services release what the worker held.
        self._rpc.register(on_lost=self._on_lost)
        self.accounts = self._servers.accounts.accounts
        self.live = self._servers.live
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
        await self._rpc.open(own_end)
        self._control.start(self.number)
        self._servers.keys.begin()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def prepare(self, accounts: MasterAccounts, config: Config) -> None:
        """Make the worker prepare these settings, and wait for it. Raises WorkerNotReady."""
        self._servers.accounts.add(accounts)
        await self._control.prepare(accounts.revision, config)

    async def serve(self, accounts: MasterAccounts) -> None:
        """Make the worker serve with settings that it has prepared. Raises WorkerNotReady."""
        await self._control.serve(accounts.revision)
        self.serving = True

    def drop(self, accounts: MasterAccounts) -> None:
        """Make the worker drop settings that it has prepared."""
        self._control.drop(accounts.revision)
        self._release_revision(accounts.revision)

    def send_mean(self, connections: float) -> None:
        """Send the worker the mean number of connections of all workers."""
        self._control.send_mean(connections)

    def send_ledger_state(self, degraded: bool) -> None:
        """Tell the worker whether rows come late or are lost, if it does not know yet."""
        if degraded != self._ledger_degraded:
            self._ledger_degraded = degraded
            self._control.send_ledger_state(degraded)

    def stop(self, seconds: float | None) -> None:
        """Make the worker drain and end.

        seconds: how long open requests may take; None for no limit.
        """
        self._control.stop(seconds)

    def reopen_logs(self) -> None:
        """Make the worker reopen its log files."""
        self._control.reopen_logs()

    def kill(self) -> None:
        """End the process at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def exit_status(self) -> int:
        """Wait for the process to end, release all that it held, and return its exit status."""
        status = await self._process.wait()
        self._rpc.lose()
        self._rpc.close()
        return status

    def _note_heartbeat(self, requests: int, connections: int, loses_rows: bool) -> None:
        self.last_heartbeat = time.monotonic()
        self.requests, self.connections = requests, connections
        self.loses_rows = loses_rows
        self._on_heartbeat()

    def _release_revision(self, revision: int) -> None:
        if accounts := self._servers.accounts.remove(revision):
            self._on_drained(accounts)

    def _on_lost(self) -> None:
        self.serving = self.loses_rows = False
        self.requests = self.connections = 0
        for revision in list(self.accounts):
            self._release_revision(revision)
