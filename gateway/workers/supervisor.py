"""All workers: started, watched, restarted, and all under the same settings."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable, Iterable

import structlog

from gateway.config.settings import Config
from gateway.workers.process import WorkerNotReady, WorkerProcess
from gateway.workers.rpc.server import MasterState
from gateway.workers.services.accounts import AccountService

_log = structlog.get_logger("workers")

_START_TIMEOUT = 60.0  # seconds that a worker may take until it is ready
_SWITCH_TIMEOUT = 10.0  # seconds that it may take to serve under settings for which it is ready
_SILENCE_TIMEOUT = 30.0  # seconds without a sign of life after which a worker is killed
_STOP_MARGIN = 5.0  # seconds beyond its time that a worker gets to end
_STABLE_AFTER = 10.0  # seconds after which a death says nothing about the next start
_RESTART_PAUSES = 0.5, 30.0  # seconds before a restart after a short life, at first and at most


class WorkerSupervisor:
    """Workers, as many as the settings say.

    sockets: that they take connections from; they stay the caller's. on_left: told when the
    last worker is done with the settings of an office.
    """

    def __init__(
        self,
        sockets: list[socket.socket],
        state: MasterState,
        on_drained: Callable[[AccountService], None],
    ) -> None:
        self._sockets = sockets
        self._state = state
        self._on_drained = on_drained
        self._workers: dict[int, WorkerProcess] = {}
        self._retired: set[WorkerProcess] = set()
        self._missing: set[int] = set()  # places that are about to be filled again
        self._keeping: set[asyncio.Task[None]] = set()
        self._leaving = asyncio.Event()
        self._mean = 0.0
        self._accounts: AccountService
        self._config: Config
        self.count = 0

    async def start(self, accounts: AccountService, config: Config) -> None:
        """Start as many as there are to be, and have them serve. Raises OSError."""
        self._accounts, self._config = accounts, config
        self.count = config.server.workers
        await _all(self._add(number) for number in range(1, self.count + 1))
        for number in range(1, self.count + 1):
            self._keep(number)

    async def prepare(self, accounts: AccountService, config: Config) -> None:
        """Have all get ready for other settings; `serve` or `forget` is to follow.

        Raises OSError; then `forget` was called.
        """
        workers = list(self._workers.values())
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                await _all(worker.prepare(accounts, config) for worker in workers)
        except BaseException as error:
            self.forget(accounts)
            if isinstance(error, TimeoutError):
                raise WorkerNotReady("the workers were not ready in time") from None
            raise

    def forget(self, accounts: AccountService) -> None:
        """What all got ready for is not to be."""
        for worker in self._workers.values():
            worker.forget(accounts)

    async def serve(self, accounts: AccountService, config: Config) -> None:
        """What comes from now on is served under these settings, by as many as they say."""
        self._accounts, self._config = accounts, config
        self.count = config.server.workers
        for number in [number for number in self._workers if number > self.count]:
            worker = self._workers.pop(number)
            self._retired.add(worker)
            worker.stop(None)
        await asyncio.gather(*(self._swap(worker) for worker in list(self._workers.values())))
        for number in range(1, self.count + 1):
            if number not in self._workers and number not in self._missing:
                await self._try_to_add(number)
                self._keep(number)

    def serves(self, accounts: AccountService) -> bool:
        """Whether a worker still uses this office."""
        return any(accounts.revision in worker.services for worker in self._all)

    @property
    def requests(self) -> int:
        """How many requests they are working on, as of their last beats."""
        return sum(worker.requests for worker in self._all)

    @property
    def serving(self) -> int:
        """How many of them take requests."""
        return sum(worker.serving for worker in self._workers.values())

    def reopen(self) -> None:
        """Have them open their log files anew."""
        for worker in self._all:
            worker.reopen()

    async def stop(self, seconds: float) -> None:
        """Have them finish what they have begun, at most for so long, and wait for it."""
        self._leaving.set()
        for worker in self._all:
            worker.stop(seconds)
        if self._keeping:
            await asyncio.wait(self._keeping, timeout=seconds + _STOP_MARGIN)
        self.kill()
        await asyncio.gather(*self._keeping, return_exceptions=True)

    def kill(self) -> None:
        """End all of them now, for good."""
        self._leaving.set()
        for worker in self._all:
            worker.kill()

    @property
    def _all(self) -> list[WorkerProcess]:
        return [*self._workers.values(), *self._retired]

    async def _add(self, number: int) -> None:
        """Have one more serve under the settings of the hour. Raises OSError."""
        worker = WorkerProcess(number, self._state, on_beat=self._level, on_drained=self._on_left)
        await worker.start(self._sockets)
        self._workers[number] = worker
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                while self._accounts.revision not in worker.services:  # it may change meanwhile
                    accounts = self._accounts
                    await worker.prepare(accounts, self._config)
                    await worker.serve(accounts)
        except BaseException as error:
            worker.kill()  # it would be there and serve nobody
            if isinstance(error, TimeoutError):
                raise WorkerNotReady("a worker was not ready in time") from None
            raise

    async def _swap(self, worker: WorkerProcess) -> None:
        try:
            async with asyncio.timeout(_SWITCH_TIMEOUT):
                if (
                    self._accounts.revision not in worker.services
                ):  # it came after the others' `prepare`
                    await worker.prepare(self._accounts, self._config)
                await worker.serve(self._accounts)
        except (TimeoutError, WorkerNotReady):
            worker.kill()  # another will take its place, under the settings of the hour

    async def _try_to_add(self, number: int) -> None:
        try:
            await self._add(number)
        except OSError as error:  # of processes, memory or descriptors there are too many
            _log.error("worker_not_started", worker=number, reason=str(error))

    def _keep(self, number: int) -> None:
        """Have a worker in this place, whatever happens, until it retires or all leave."""
        worker = self._workers.get(number)
        if worker is None:
            self._missing.add(number)
        task = asyncio.create_task(self._replace_when_gone(number, worker))
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)

    async def _replace_when_gone(self, number: int, worker: WorkerProcess | None) -> None:
        pause = 0.0
        while True:
            began = time.monotonic()
            if worker is not None:
                await self._death(worker)
                if self._leaving.is_set() or self._workers.get(number) is not worker:
                    self._retired.discard(worker)
                    return
                del self._workers[number]
                self._missing.add(number)
            lived = time.monotonic() - began
            pause = (
                0.0
                if lived > _STABLE_AFTER
                else min(max(pause * 2, _RESTART_PAUSES[0]), _RESTART_PAUSES[1])
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), pause)
                return
            if number <= self.count:
                await self._try_to_add(number)
            worker = self._workers.get(number)
            if worker is not None or number > self.count:  # by now there are to be fewer
                self._missing.discard(number)
            if worker is None and number > self.count:
                return

    async def _death(self, worker: WorkerProcess) -> None:
        hanging = asyncio.create_task(self._kill_if_it_hangs(worker))
        try:
            status = await worker.exit_status()
        finally:
            hanging.cancel()
        if not self._leaving.is_set() and worker not in self._retired:
            _log.error("worker_died", worker=worker.number, pid=worker.pid, status=status)

    async def _kill_if_it_hangs(self, worker: WorkerProcess) -> None:
        while True:
            silent = time.monotonic() - worker.heard
            limit = _SILENCE_TIMEOUT if worker.serving else _START_TIMEOUT
            if silent > limit:
                _log.error("worker_hangs", worker=worker.number, pid=worker.pid)
                worker.kill()
                return
            await asyncio.sleep(limit - silent + 0.1)

    def _level(self) -> None:
        """Tell the workers what is their share of the connections, if it is another."""
        serving = [worker for worker in self._workers.values() if worker.serving]
        if not serving:
            return
        mean = sum(worker.connections for worker in serving) / len(serving)
        if mean != self._mean:
            self._mean = mean
            for worker in serving:
                worker.send_mean(mean)

    def _on_left(self, accounts: AccountService) -> None:
        if not self.serves(accounts):
            self._on_drained(accounts)


async def _all(works: Iterable[Awaitable[None]]) -> None:
    """All of them, in parallel; the first failure once all are done."""
    results = await asyncio.gather(*works, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
