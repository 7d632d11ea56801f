"""The master lists the open requests of its workers and ends one, in whichever worker it is."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from gateway.admission import live as live_module
from gateway.admission.live import ADMITTED, SENDING, Admitted, LiveRequests
from gateway.generation.outcome import Outcome
from gateway.middleware import OUTCOME, REQUEST_ID, set_principal
from gateway.principal import Principal
from gateway.workers.services import live as service
from tests.unit.workers.support import WorkerConnection, connected_workers, master_pool
from tests.waiting import NEVER


class FakeStream:
    """A stream that has sent some bytes."""

    bytes_sent = 77


def admitted(live: LiveRequests, row_id: str, at: int) -> asyncio.Task[Any]:
    """Add an open request; its task runs until it is cancelled."""
    request = make_mocked_request("POST", "/v1/chat/completions")
    task = asyncio.create_task(asyncio.sleep(NEVER))
    request[OUTCOME] = Outcome(account="a", first_piece=1.0)
    request[REQUEST_ID] = f"req_{row_id}"
    request[SENDING] = FakeStream()
    set_principal(request, Principal(id="alice", name="alice", team="web"))
    request[ADMITTED] = Admitted(row_id, "fitten-code", "chat", False, None, at, "chat", True, task)
    live.requests[row_id] = request
    return task


def live_of(worker: WorkerConnection) -> LiveRequests:
    return worker.clients.live.requests


async def ended(task: asyncio.Task[Any]) -> bool:
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return task.cancelled()


async def test_a_request_is_listed_and_ended_in_its_worker_only() -> None:
    async with connected_workers(master_pool(1), 2) as (one, two):
        tasks = [admitted(live_of(one), "r1", 5), admitted(live_of(two), "r2", 4)]
        (listed,) = await one.servers.live.snapshot()
        assert (listed.id, listed.request_id, listed.key, listed.team) == (
            *("r1", "req_r1", "alice"),
            "web",
        )
        assert (listed.account, listed.answering, listed.bytes) == ("a", True, 77)
        found = [await worker.servers.live.end("r2", "boss") for worker in (one, two)]
        assert found == [False, True]
        assert await ended(tasks[1])
        assert not tasks[0].done()
        tasks[0].cancel()
        await asyncio.wait(tasks)


async def test_a_worker_that_hangs_or_has_ended_has_no_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "_ANSWER_TIMEOUT", 0.01)
    async with connected_workers(master_pool(1), 1) as (worker,):
        monkeypatch.setattr(worker.rpc, "_respond", lambda *_: None)
        assert await worker.servers.live.snapshot() == []
        assert await worker.servers.live.end("r1", "boss") is False
        worker.close()
        assert await worker.servers.live.snapshot() == []


async def test_a_list_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "MOST_LISTED", 3)
    live = LiveRequests()
    tasks = [admitted(live, f"r{number}", number) for number in range(5)]
    assert [request.id for request in live.snapshot()] == ["r0", "r1", "r2"]
    assert live.end("r4", "boss"), "one beyond the list can be ended too"
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def test_the_error_of_an_ended_request_asks_for_no_repeat() -> None:
    error = live_module.ended_error()
    assert (error.status, error.cause, error.is_final) == (503, "ended_by_admin", True)
