"""Starts, watches and restarts the workers, and keeps all of them on the same settings."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import time
from collections.abc import Awaitable, Callable, Iterable

import structlog

from gateway.admission.live import LiveRequest
from gateway.config.settings import Config
from gateway.redaction import os_error_and_file
from gateway.workers.process import WorkerProcess
from gateway.workers.services.accounts import MasterAccounts
from gateway.workers.services.composition import MasterState
from gateway.workers.services.control import WorkerNotReady

_log = structlog.get_logger("workers")

_START_TIMEOUT = 60.0  # seconds that a worker may take until it is ready
_SWITCH_TIMEOUT = 10.0  # seconds that a worker may take to switch to prepared settings
_SILENCE_TIMEOUT = 30.0  # seconds without a heartbeat after which a worker is killed
_STOP_MARGIN = 5.0  # seconds beyond the drain time after which workers are killed
_STABLE_AFTER = 10.0  # seconds; a worker that ran longer than this is restarted without a pause
_RESTART_PAUSES = 0.5, 30.0  # seconds before other restarts: the first pause, the longest


class WorkerSupervisor:
    """Runs as many workers as the settings say.

    sockets: the listening sockets of the workers. The supervisor does not close them.
    on_drained: called with accounts that no worker uses any more.
    ledger_fault: returns why the ledger's writer cannot write; None if it can.
    count: how many workers the settings want.
    """

    def __init__(
        self,
        sockets: list[socket.socket],
        state: MasterState,
        on_drained: Callable[[MasterAccounts], None],
        ledger_fault: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._ledger_fault = ledger_fault
        self._sockets = sockets
        self._state = state
        self._on_drained = on_drained
        self._workers: dict[int, WorkerProcess] = {}
        self._retired: set[WorkerProcess] = set()  # too many since a reload, still draining
        self._restarting: set[int] = set()  # numbers whose worker is about to be replaced
        self._monitors: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._mean = 0.0
        self._accounts: MasterAccounts
        self._config: Config
        self.count = 0

    async def start(self, accounts: MasterAccounts, config: Config) -> None:
        """Start all workers, and wait until they serve. Raises OSError."""
        self._accounts, self._config = accounts, config
        self.count = config.server.workers
        await _gather(self._start_worker(number) for number in range(1, self.count + 1))
        for number in range(1, self.count + 1):
            self._start_monitor(number)

    async def prepare(self, accounts: MasterAccounts, config: Config) -> None:
        """Make all workers prepare other settings; `switch_to` or `drop` must follow.

        Raises OSError, after it has called `drop`.
        """
        workers = list(self._workers.values())
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                await _gather(worker.prepare(accounts, config) for worker in workers)
        except BaseException as error:
            self.drop(accounts)
            if isinstance(error, TimeoutError):
                raise WorkerNotReady("the workers were not ready in time") from None
            raise

    def drop(self, accounts: MasterAccounts) -> None:
        """Make all workers drop settings that they have prepared."""
        for worker in self._workers.values():
            worker.drop(accounts)

    async def switch_to(self, accounts: MasterAccounts, config: Config) -> None:
        """Switch to prepared settings, and start or stop workers if their number changes."""
        self._accounts, self._config = accounts, config
        self.count = config.server.workers
        for number in [number for number in self._workers if number > self.count]:
            worker = self._workers.pop(number)
            self._retired.add(worker)
            worker.stop(None)
        await asyncio.gather(
            *(self._switch_worker(worker) for worker in list(self._workers.values()))
        )
        for number in range(1, self.count + 1):
            if number not in self._workers and number not in self._restarting:
                await self._try_to_start_worker(number)
                self._start_monitor(number)

    def uses(self, accounts: MasterAccounts) -> bool:
        """Return whether a worker still uses these accounts."""
        return any(accounts.revision in worker.accounts for worker in self._all_workers)

    @property
    def requests(self) -> int:
        """Return how many requests are open in all workers, by their last heartbeats."""
        return sum(worker.requests for worker in self._all_workers)

    @property
    def serving(self) -> int:
        """Return how many workers accept requests."""
        return sum(worker.serving for worker in self._workers.values())

    async def live(self) -> list[LiveRequest]:
        """Return the open requests of all workers, the oldest first."""
        lists = await asyncio.gather(*(worker.live.snapshot() for worker in self._all_workers))
        return sorted(itertools.chain(*lists), key=lambda request: request.at)

    async def end_live(self, row_id: str, by: str) -> bool:
        """End an open request; return whether a worker had it."""
        found = await asyncio.gather(*(worker.live.end(row_id, by) for worker in self._all_workers))
        return any(found)

    def reopen_logs(self) -> None:
        """Make all workers reopen their log files."""
        for worker in self._all_workers:
            worker.reopen_logs()

    async def stop(self, seconds: float) -> None:
        """Drain all workers, and wait until they have ended. Then kill those that have not.

        seconds: how long open requests may take.
        """
        self._stopping.set()
        for worker in self._all_workers:
            worker.stop(seconds)
        if self._monitors:
            await asyncio.wait(self._monitors, timeout=seconds + _STOP_MARGIN)
        self.kill()
        await asyncio.gather(*self._monitors, return_exceptions=True)

    def kill(self) -> None:
        """End all workers at once, and start no others."""
        self._stopping.set()
        for worker in self._all_workers:
            worker.kill()

    @property
    def _all_workers(self) -> list[WorkerProcess]:
        return [*self._workers.values(), *self._retired]

    async def _start_worker(self, number: int) -> None:
        """Start a worker, and wait until it serves with the current settings. Raises OSError."""
        worker = WorkerProcess(
            number,
            self._state,
            on_heartbeat=self._on_heartbeat,
            on_drained=self._on_worker_drained,
        )
        await worker.start(self._sockets)
        self._workers[number] = worker
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                # A reload may change the revision meanwhile.
                while self._accounts.revision not in worker.accounts:
                    accounts = self._accounts
                    await worker.prepare(accounts, self._config)
                    await worker.serve(accounts)
        except BaseException as error:
            worker.kill()  # else the process would run on without serving
            if isinstance(error, TimeoutError):
                raise WorkerNotReady("a worker was not ready in time") from None
            raise

    async def _switch_worker(self, worker: WorkerProcess) -> None:
        try:
            async with asyncio.timeout(_SWITCH_TIMEOUT):
                # A worker that was started during the reload has not prepared the settings.
                if self._accounts.revision not in worker.accounts:
                    await worker.prepare(self._accounts, self._config)
                await worker.serve(self._accounts)
        except (TimeoutError, WorkerNotReady):
            worker.kill()  # its monitor starts another one with the current settings

    async def _try_to_start_worker(self, number: int) -> None:
        try:
            await self._start_worker(number)
        except OSError as error:  # for example: too many processes, no memory, no descriptors
            _log.error("worker_not_started", worker=number, reason=os_error_and_file(error))

    def _start_monitor(self, number: int) -> None:
        """Restart the worker of this number whenever it ends, until it is no longer wanted."""
        worker = self._workers.get(number)
        if worker is None:
            self._restarting.add(number)
        task = asyncio.create_task(self._monitor(number, worker))
        self._monitors.add(task)
        task.add_done_callback(self._monitors.discard)

    async def _monitor(self, number: int, worker: WorkerProcess | None) -> None:
        pause = 0.0
        while True:
            began = time.monotonic()
            if worker is not None:
                await self._wait_for_exit(worker)
                if self._stopping.is_set() or self._workers.get(number) is not worker:
                    self._retired.discard(worker)
                    return
                del self._workers[number]
                self._restarting.add(number)
            lifetime = time.monotonic() - began
            pause = (
                0.0
                if lifetime > _STABLE_AFTER
                else min(max(pause * 2, _RESTART_PAUSES[0]), _RESTART_PAUSES[1])
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
                return
            if number <= self.count:
                await self._try_to_start_worker(number)
            worker = self._workers.get(number)
            # A reload may have lowered the count during the pause.
            if worker is not None or number > self.count:
                self._restarting.discard(number)
            if worker is None and number > self.count:
                return

    async def _wait_for_exit(self, worker: WorkerProcess) -> None:
        hang_check = asyncio.create_task(self._kill_if_hanging(worker))
        try:
            status = await worker.exit_status()
        finally:
            hang_check.cancel()
        if not self._stopping.is_set() and worker not in self._retired:
            _log.error("worker_died", worker=worker.number, pid=worker.pid, status=status)

    async def _kill_if_hanging(self, worker: WorkerProcess) -> None:
        while True:
            silence = time.monotonic() - worker.last_heartbeat
            limit = _SILENCE_TIMEOUT if worker.serving else _START_TIMEOUT
            if silence > limit:
                _log.error("worker_hangs", worker=worker.number, pid=worker.pid)
                worker.kill()
                return
            await asyncio.sleep(limit - silence + 0.1)

    def _on_heartbeat(self) -> None:
        self._send_mean()
        workers = self._all_workers
        degraded = self._ledger_fault() is not None or any(w.loses_rows for w in workers)
        for worker in workers:
            worker.send_ledger_state(degraded)

    def _send_mean(self) -> None:
        """Send the workers the mean number of connections, if it has changed."""
        serving = [worker for worker in self._workers.values() if worker.serving]
        if not serving:
            return
        mean = sum(worker.connections for worker in serving) / len(serving)
        if mean != self._mean:
            self._mean = mean
            for worker in serving:
                worker.send_mean(mean)

    def _on_worker_drained(self, accounts: MasterAccounts) -> None:
        if not self.uses(accounts):
            self._on_drained(accounts)


async def _gather(awaitables: Iterable[Awaitable[None]]) -> None:
    """Wait for all of them, then raise the first error, if any."""
    results = await asyncio.gather(*awaitables, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
