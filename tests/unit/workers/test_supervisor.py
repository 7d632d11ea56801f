"""Workers as processes: one that hangs or dies is replaced, one that cannot start is reported."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog

from emulator import Emulator
from gateway.config.settings import AccountSettings, Config, FittenSettings, ServerSettings
from gateway.options import Secret
from gateway.server import listeners
from gateway.workers import supervisor as supervisor_module
from gateway.workers.process import WorkerProcess
from gateway.workers.services.accounts import MasterAccounts
from gateway.workers.services.composition import MasterState
from gateway.workers.services.control import WorkerNotReady
from gateway.workers.supervisor import WorkerSupervisor
from tests.waiting import LONGEST_WAIT, eventually


class SupervisorBench:
    """A supervisor with running workers, and accounts in front of the emulator."""

    def __init__(self, config: Config, sockets: list[socket.socket]) -> None:
        self.config = config
        self.left: list[MasterAccounts] = []
        self.accounts = MasterAccounts(1, config, lambda _: None)
        self.supervisor = WorkerSupervisor(sockets, MasterState(), self.left.append)
        self.url = listeners.url_of(sockets[0].getsockname())

    @property
    def workers(self) -> dict[int, WorkerProcess]:
        return self.supervisor._workers

    async def health(self) -> int:
        async with (
            aiohttp.ClientSession() as http,
            http.get(self.url + "/health", timeout=aiohttp.ClientTimeout(LONGEST_WAIT)) as response,
        ):
            return response.status


@pytest.fixture
async def bench(emulator: Emulator, tmp_path: Path) -> AsyncIterator[SupervisorBench]:
    async with open_bench(settings(emulator, tmp_path)) as bench:
        await bench.supervisor.start(bench.accounts, bench.config)
        yield bench


def settings(emulator: Emulator, folder: Path, **server: Any) -> Config:
    return Config(
        fitten=FittenSettings(
            accounts=(AccountSettings("demo_user", Secret("correct horse")),),
            base_url=emulator.url,
            models_url=emulator.url,
            state_file=str(folder / "fitten.json"),
        ),
        server=ServerSettings(workers=2, **server),
    )


@asynccontextmanager
async def open_bench(config: Config) -> AsyncIterator[SupervisorBench]:
    sockets = listeners.open_listeners("127.0.0.1", 0)
    bench = SupervisorBench(config, sockets)
    async with bench.accounts.open():
        try:
            yield bench
        finally:
            await bench.supervisor.stop(0.5)
            listeners.close_listeners(sockets)


async def test_a_worker_that_hangs_is_killed_and_replaced(
    bench: SupervisorBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "_SILENCE_TIMEOUT", 3.0)
    monkeypatch.setattr(supervisor_module, "_RESTART_PAUSES", (0.0, 0.0))
    first = bench.workers[1]
    with structlog.testing.capture_logs() as logs:
        # The check still sleeps by the former limit; a death makes it run again.
        for number in (signal.SIGKILL, signal.SIGSTOP):
            second = bench.workers[2]
            os.kill(second.pid, number)
            await eventually(replaced(bench, second))
    assert [log["event"] for log in logs if log["log_level"] == "error"] == [
        "worker_died",
        "worker_hangs",
        "worker_died",
    ]
    assert bench.workers[1] is first
    assert [await bench.health() for _ in range(6)] == [200] * 6


async def test_a_worker_that_dies_early_again_and_again_is_restarted_after_pauses(
    bench: SupervisorBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "_RESTART_PAUSES", (0.2, 0.4))
    died = []
    for _ in range(3):
        worker = bench.workers[1]
        died.append(time.monotonic())
        os.kill(worker.pid, signal.SIGKILL)
        await eventually(replaced(bench, worker))
        assert await bench.health() == 200, "the other one serves"
    assert time.monotonic() - died[0] >= 0.2 + 0.4 + 0.4


def replaced(bench: SupervisorBench, worker: WorkerProcess) -> Callable[[], bool]:
    def is_replaced() -> bool:
        present = bench.workers.get(worker.number)
        return present is not None and present is not worker and present.serving

    return is_replaced


async def test_a_worker_that_cannot_be_started_is_tried_again(
    bench: SupervisorBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "_RESTART_PAUSES", (0.1, 0.1))
    tries = 0

    async def start(self: WorkerProcess, sockets: list[socket.socket]) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise OSError(errno.EAGAIN, "no more processes")
        await started(self, sockets)
        if tries == 2:
            self.kill()

    started = WorkerProcess.start
    monkeypatch.setattr(WorkerProcess, "start", start)
    worker = bench.workers[1]
    with structlog.testing.capture_logs() as logs:
        os.kill(worker.pid, signal.SIGKILL)
        await eventually(lambda: tries == 3 and bench.supervisor.serving == 2)
    assert [log["event"] for log in logs if log["log_level"] == "error"] == [
        "worker_died",
        "worker_not_started",
        "worker_not_started",
        "worker_died",
    ]
    assert await bench.health() == 200


async def test_additional_workers_that_cannot_be_started_at_once_start_later(
    bench: SupervisorBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "_RESTART_PAUSES", (0.1, 0.1))
    more = replace(bench.config, server=replace(bench.config.server, workers=3))
    fails = True

    async def start(self: WorkerProcess, sockets: list[socket.socket]) -> None:
        if fails:
            raise OSError(errno.EAGAIN, "no more processes")
        await started(self, sockets)

    started = WorkerProcess.start
    monkeypatch.setattr(WorkerProcess, "start", start)
    other = MasterAccounts(2, more, lambda _: None)
    async with other.open():
        await bench.supervisor.prepare(other, more)
        other.take_over(bench.accounts)
        await bench.supervisor.switch_to(other, more)
        assert (bench.supervisor.serving, bench.supervisor.count) == (2, 3)
        fails = False
        await eventually(lambda: bench.supervisor.serving == 3)
        await bench.supervisor.stop(0.5)


async def test_all_workers_leave_prepared_accounts_that_are_rejected(
    bench: SupervisorBench, emulator: Emulator, tmp_path: Path
) -> None:
    other = MasterAccounts(2, bench.config, lambda _: None)
    async with other.open():
        await bench.supervisor.prepare(other, bench.config)
        assert bench.supervisor.uses(other)
        bench.supervisor.drop(other)
        assert not bench.supervisor.uses(other)
    assert bench.left == [other]
    assert bench.supervisor.uses(bench.accounts)
    assert await bench.health() == 200


async def test_the_former_accounts_are_left_once_new_settings_are_served(
    bench: SupervisorBench,
) -> None:
    other = MasterAccounts(2, bench.config, lambda _: None)
    async with other.open():
        await bench.supervisor.prepare(other, bench.config)
        other.take_over(bench.accounts)
        await bench.supervisor.switch_to(other, bench.config)
        await eventually(lambda: bench.left == [bench.accounts])
        assert bench.supervisor.uses(other)
        os.kill(bench.workers[1].pid, signal.SIGKILL)
        worker = bench.workers[1]
        await eventually(replaced(bench, worker))
        assert list(bench.workers[1].accounts) == [2], "who comes later knows the new ones only"
        await bench.supervisor.stop(0.5)


async def test_a_worker_that_starts_after_the_others_were_ready_takes_the_settings_too(
    bench: SupervisorBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "_RESTART_PAUSES", (0.0, 0.0))
    other = MasterAccounts(2, bench.config, lambda _: None)
    async with other.open():
        await bench.supervisor.prepare(other, bench.config)
        worker = bench.workers[1]
        os.kill(worker.pid, signal.SIGKILL)
        await eventually(replaced(bench, worker))
        late = bench.workers[1]
        other.take_over(bench.accounts)
        await bench.supervisor.switch_to(other, bench.config)
        await eventually(lambda: [list(w.accounts) for w in bench.workers.values()] == [[2], [2]])
        assert bench.workers[1] is late, "it was not killed for being late"
        await bench.supervisor.stop(0.5)


async def test_a_worker_that_dies_while_it_gets_ready_rejects_the_settings(
    bench: SupervisorBench,
) -> None:
    other = MasterAccounts(2, bench.config, lambda _: None)
    async with other.open():
        os.kill(bench.workers[2].pid, signal.SIGSTOP)
        preparing = asyncio.create_task(bench.supervisor.prepare(other, bench.config))
        await asyncio.sleep(0.05)
        os.kill(bench.workers[2].pid, signal.SIGKILL)
        with pytest.raises(WorkerNotReady):
            await preparing
        assert not bench.supervisor.uses(other)
        await eventually(lambda: bench.supervisor.serving == 2)


async def test_nothing_is_left_when_a_worker_cannot_be_started(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    async with open_bench(settings(emulator, tmp_path)) as bench:
        with pytest.raises(WorkerNotReady):
            await bench.supervisor.start(bench.accounts, bench.config)
        await bench.supervisor.stop(0.1)
        assert not bench.supervisor.uses(bench.accounts)
