"""The master controls its workers: what takes time is done in order, and a failure is reported."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import structlog

from gateway.config.settings import Config
from gateway.workers.rpc.peer import RpcPeer
from gateway.workers.services.control import (
    WorkerCommands,
    WorkerControl,
    WorkerNotReady,
)
from tests.unit.workers.support import CONFIG, connect, no_response, settled
from tests.waiting import eventually


class ControlledWorker:
    """A worker that notes what it is told; the test lets it go on by `ready`."""

    def __init__(self) -> None:
        self.rpc = RpcPeer(no_response)
        self.done: list[object] = []
        self.ready = asyncio.Event()
        self.fault = ""
        self.commands = WorkerCommands(
            self.rpc,
            on_start=lambda number: self.done.append(("start", number)),
            prepare=self._prepare,
            serve=self._serve,
            drop=self._drop,
            on_mean=lambda mean: self.done.append(("mean", mean)),
            on_ledger=lambda degraded: self.done.append(("ledger", degraded)),
            on_reopen_logs=lambda: self.done.append("reopen"),
            on_stop=lambda seconds: self.done.append(("stop", seconds)),
        )

    async def _prepare(self, revision: int, settings: bytes) -> str:
        self.done.append(("begin", revision))
        await self.ready.wait()
        self.done.append(("prepare", revision))
        return self.fault

    async def _serve(self, revision: int) -> None:
        if revision == 404:
            raise KeyError(revision)
        self.done.append(("serve", revision))

    async def _drop(self, revision: int) -> None:
        self.done.append(("drop", revision))


class Control:
    """The master's end, with what it was told."""

    def __init__(self) -> None:
        self.rpc = RpcPeer(lambda: WorkerNotReady("a worker has ended"))
        self.heartbeats: list[tuple[int, int, bool]] = []
        self.drained: list[int] = []
        self.of_worker = WorkerControl(
            self.rpc,
            on_heartbeat=lambda *numbers: self.heartbeats.append(numbers),
            on_drained=self.drained.append,
        )

    async def prepare(self, revision: int, config: Config = CONFIG) -> None:
        await self.of_worker.prepare(revision, config)


@asynccontextmanager
async def controlled() -> AsyncIterator[tuple[Control, ControlledWorker]]:
    control, worker = Control(), ControlledWorker()
    await connect(control.rpc, worker.rpc)
    try:
        yield control, worker
    finally:
        worker.rpc.close()
        control.rpc.close()
        await settled()


async def test_commands_for_revisions_run_one_after_the_other_in_their_order() -> None:
    async with controlled() as (control, worker):
        preparing = asyncio.create_task(control.prepare(2))
        await eventually(lambda: worker.done == [("begin", 2)])
        serving = [asyncio.create_task(control.of_worker.serve(2)) for _ in range(2)]
        await settled()
        control.of_worker.drop(1)
        control.of_worker.send_mean(1.5)
        control.of_worker.stop(3.0)
        await eventually(lambda: worker.done[1:] == [("mean", 1.5), ("stop", 3.0)])
        worker.ready.set()
        await asyncio.gather(preparing, *serving)
        await eventually(lambda: len(worker.done) == 7)
        assert worker.done[3:] == [("prepare", 2), ("serve", 2), ("serve", 2), ("drop", 1)]


async def test_a_worker_says_why_it_cannot_prepare() -> None:
    async with controlled() as (control, worker):
        worker.ready.set()
        worker.fault = "No space left on device"
        with pytest.raises(WorkerNotReady, match="No space left on device"):
            await control.prepare(2)


async def test_a_command_that_fails_in_an_unexpected_way_is_an_answer_too() -> None:
    async with controlled() as (control, worker):
        with structlog.testing.capture_logs() as logs, pytest.raises(WorkerNotReady):
            await control.of_worker.serve(404)
        assert [log["event"] for log in logs] == ["bug"]
        await control.of_worker.serve(1)
        assert worker.done == [("serve", 1)]


async def test_a_master_that_gives_up_ends_the_preparation_before_the_drop() -> None:
    async with controlled() as (control, worker):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await control.prepare(2)
        control.of_worker.drop(2)
        await eventually(lambda: worker.done == [("begin", 2), ("drop", 2)])


async def test_a_worker_that_stops_carries_out_no_more_commands() -> None:
    async with controlled() as (control, worker):
        preparing = asyncio.create_task(control.prepare(2))
        await eventually(lambda: worker.done == [("begin", 2)])
        worker.commands.close()
        await worker.commands.closed()
        with pytest.raises(WorkerNotReady):
            await control.of_worker.serve(1)
        assert worker.done == [("begin", 2)]
        worker.rpc.close()
        with pytest.raises(WorkerNotReady, match="a worker has ended"):
            await preparing


async def test_notifications_arrive_at_both_ends() -> None:
    async with controlled() as (control, worker):
        control.of_worker.start(3)
        control.of_worker.reopen_logs()
        control.of_worker.stop(None)
        control.of_worker.send_ledger_state(True)
        worker.commands.send_heartbeat(4, 5, loses_rows=True)
        worker.commands.report_drained(6)
        told = [("start", 3), "reopen", ("stop", None), ("ledger", True)]
        await eventually(lambda: worker.done == told)
        await eventually(lambda: control.drained == [6])
        assert control.heartbeats == [(4, 5, True)]
