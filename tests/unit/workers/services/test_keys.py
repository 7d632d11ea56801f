"""Every worker has the newest table before the one who changed it is answered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.errors import GatewayError
from gateway.keys.records import NO_KEYS
from gateway.workers.services.composition import MasterState
from gateway.workers.services.keys import KeyPublisher
from tests.unit.keys.support import NOON, key, table
from tests.unit.workers.support import WorkerConnection, connected_workers, master_pool, settled
from tests.waiting import LONGEST_WAIT, eventually


def master_state(**options: Any) -> MasterState:
    """Return the state of a master that waits for slow workers too."""
    state = MasterState()
    state.keys = KeyPublisher(**{"longest_wait": LONGEST_WAIT} | options)
    return state


async def test_a_new_worker_has_the_current_table_before_it_serves() -> None:
    alice, text = key()
    state = master_state()
    await state.keys.publish(table(alice))
    async with connected_workers(master_pool(1), 2, state) as workers:
        await eventually(lambda: all(worker.remote_state.keys.version for worker in workers))
        for worker in workers:
            assert worker.remote_state.keys.identify(text, "api", NOON).id == alice.id


async def test_a_worker_that_has_confirmed_refuses_a_revoked_key() -> None:
    alice, text = key()
    state = master_state()
    async with connected_workers(master_pool(1), 3, state) as workers:
        assert await state.keys.publish(table(alice, version=1)) == (3, 3)
        for worker in workers:
            assert worker.remote_state.keys.identify(text, "api", NOON).id == alice.id
        assert await state.keys.publish(table(version=2)) == (3, 3)
        for worker in workers:
            with pytest.raises(GatewayError):
                worker.remote_state.keys.identify(text, "api", NOON)
    with pytest.raises(GatewayError):
        state.keys.directory.identify(text, "api", NOON)


async def test_changes_at_the_same_time_end_with_the_newest() -> None:
    state = master_state()
    records = [key(f"k{version}") for version in range(1, 21)]
    async with connected_workers(master_pool(1), 2, state) as workers:
        tables = [table(record, version=n) for n, (record, _) in enumerate(records, 1)]
        answers = await asyncio.gather(*(state.keys.publish(one) for one in reversed(tables)))
        assert set(answers) == {(2, 2)}
        for worker in workers:
            assert worker.remote_state.keys.version == 20


async def test_a_long_table_comes_in_parts() -> None:
    made = [key(f"k{number}") for number in range(50)]
    state = master_state(max_part=1000)
    await state.keys.publish(table(*[record for record, _ in made]))
    async with connected_workers(master_pool(1), 1, state) as (worker,):
        await eventually(lambda: worker.remote_state.keys.version)
        for record, text in made:
            assert worker.remote_state.keys.identify(text, "api", NOON).id == record.id
        assert await state.keys.publish(table(made[0][0], version=2)) == (1, 1)
        assert worker.remote_state.keys.key(made[1][0].id) is None


async def test_a_worker_that_does_not_answer_is_waited_for_only_so_long() -> None:
    state = master_state(longest_wait=1.0)
    async with connected_workers(master_pool(1), 2, state) as (silent, _):
        await settled()
        hold_back(silent)
        with capture_logs() as logs:
            assert await state.keys.publish(table(version=7)) == (1, 2)
    events = [line for line in logs if line["event"] == "keys_not_confirmed"]
    assert [(line["version"], line["confirmed"], line["workers"]) for line in events] == [(7, 1, 2)]


def hold_back(worker: WorkerConnection) -> None:
    """Make a worker receive nothing more."""
    channel = worker.rpc._channel
    assert channel is not None
    assert channel._transport is not None
    channel._transport.pause_reading()


async def test_a_worker_that_has_ended_is_not_waited_for() -> None:
    state = master_state()
    async with connected_workers(master_pool(1), 2, state) as (ended, _):
        ended.close()
        await settled()
        assert await state.keys.publish(table(version=1)) == (1, 1)


async def test_a_gateway_without_workers_confirms_at_once() -> None:
    state = master_state()
    assert await state.keys.publish(NO_KEYS) == (0, 0)
