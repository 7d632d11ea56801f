"""Slots are exact over several workers, and what a worker held comes back however it ends."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import pytest

from gateway.errors import GatewayError, RateLimited, Unavailable, UpstreamTimeout
from tests.unit.workers.support import WorkerConnection, connected_workers, master_pool, settled


async def test_a_slot_is_lent_with_its_account_and_tokens_and_comes_back() -> None:
    pool = master_pool(1)
    async with connected_workers(pool) as (worker,):
        slot = await worker.pool.acquire("key", 1.0)
        assert (slot.account.name, slot.probe) == ("a", False)
        assert (await slot.account.session.tokens()).access_token == "access 1"
        assert pool.summary().streams == 1
        slot.release("good")
        slot.release("good")
        await settled()
        assert pool.summary().streams == 0
        assert worker.servers.slots.held == 0


async def test_workers_together_get_no_more_slots_than_there_are() -> None:
    pool = master_pool(2, 1, queue_length=100)
    most = 0

    async with connected_workers(pool, 3) as workers:

        async def use(number: int) -> None:
            nonlocal most
            slot = await workers[number % 3].pool.acquire(f"key {number}", 5.0)
            most = max(most, pool.summary().streams)
            await asyncio.sleep(0.002)
            slot.release("good")

        await asyncio.gather(*(use(number) for number in range(40)))
        await settled()
    assert most == 3
    assert pool.summary().streams == pool.summary().queued == 0


async def test_callers_of_different_workers_take_turns() -> None:
    pool = master_pool(1, queue_length=20)
    served: list[str] = []
    async with connected_workers(pool, 2) as (busy, calm):
        first = await busy.pool.acquire("batch", 1.0)

        async def use(worker: WorkerConnection, key: str) -> None:
            slot = await worker.pool.acquire(key, 5.0)
            served.append(key)
            slot.release("good")

        tasks = [asyncio.create_task(use(busy, "batch")) for _ in range(5)]
        await settled()
        tasks.append(asyncio.create_task(use(calm, "person")))
        await settled()
        first.release("good")
        await asyncio.gather(*tasks)
    assert served.index("person") <= 1


async def test_a_client_that_leaves_is_removed_from_the_queue() -> None:
    pool = master_pool(1)
    async with connected_workers(pool, 2) as (one, other):
        slot = await one.pool.acquire("key", 1.0)
        waiting = asyncio.create_task(other.pool.acquire("key", 5.0))
        await settled()
        assert pool.summary().queued == 1
        waiting.cancel()
        await asyncio.wait([waiting])
        await settled()
        assert pool.summary().queued == 0
        slot.release("good")


async def test_a_slot_for_a_client_that_left_goes_back() -> None:
    pool = master_pool(1)
    async with connected_workers(pool) as (worker,):
        rpc = asyncio.create_task(worker.pool.acquire("key", 1.0))
        await asyncio.sleep(0)  # the request is sent, the response not read
        rpc.cancel()
        await asyncio.wait([rpc])
        await settled()
        assert pool.summary().streams == 0


async def test_all_that_a_worker_held_comes_back_when_it_is_gone() -> None:
    pool = master_pool(2, queue_length=10)
    async with connected_workers(pool, 2) as (dying, living):
        await dying.pool.acquire("key", 1.0)
        await dying.pool.acquire_completion()
        waiting = asyncio.create_task(dying.pool.acquire("key", 5.0))
        slot = await waiting
        waiting = asyncio.create_task(dying.pool.acquire("key", 5.0))
        await settled()
        assert (pool.summary().streams, pool.summary().queued) == (2, 1)
        assert slot.account.name == "a"
        dying.close()
        with pytest.raises(Unavailable) as caught:
            await waiting
        assert (caught.value.status, caught.value.code) == (503, "draining")
        await settled()
        assert (pool.summary().streams, pool.summary().queued) == (0, 0)
        assert pool.accounts[0].completions_busy == 0
        (await living.pool.acquire("key", 1.0)).release("good")


async def test_another_account_is_lent_if_there_is_one() -> None:
    pool = master_pool(1, 1)
    async with connected_workers(pool) as (worker,):
        slot = await worker.pool.acquire("key", 1.0)
        other = await worker.pool.acquire_other("key", 1.0, [slot.account.name])
        assert other is not None
        assert {slot.account.name, other.account.name} == {"a", "b"}
        assert await worker.pool.acquire_other("key", 1.0, ["a"]) is None


async def test_the_outcome_of_a_call_reaches_the_account() -> None:
    pool = master_pool(1)
    async with connected_workers(pool) as (worker,):
        slot = await worker.pool.acquire("key", 1.0)
        slot.end(RateLimited("too many", retry_after=30.0))
        await settled()
        assert pool.accounts[0].state == "cooling"
        with pytest.raises(RateLimited) as caught:
            await worker.pool.acquire("key", 1.0)
        assert caught.value.code == "upstream_rate_limited"
        assert 30 <= (caught.value.retry_after or 0) <= 36.1


async def test_an_answer_to_a_probe_brings_the_account_back() -> None:
    pool = master_pool(1, failures=1, pause=0.0)
    async with connected_workers(pool) as (worker,):
        (await worker.pool.acquire("key", 1.0)).end(UpstreamTimeout("silent"))
        await settled()
        slot = await worker.pool.acquire("key", 1.0)
        assert slot.probe
        slot.answered()
        await settled()
        assert pool.accounts[0].state == "healthy"
        slot.end(None)


@pytest.mark.parametrize("seed", range(12))
async def test_every_slot_comes_back_whatever_happens_in_whatever_order(seed: int) -> None:
    draw = random.Random(seed)
    pool = master_pool(2, 1, queue_length=4, completion_limit=3)
    async with connected_workers(pool, 3) as workers:

        async def use() -> None:
            worker = draw.choice(workers)
            with suppress(GatewayError):
                if draw.random() < 0.3:
                    slot = await worker.pool.acquire_completion(draw.choice([None, "a", "b"]))
                else:
                    slot = await worker.pool.acquire(draw.choice("xyz"), draw.uniform(0.001, 0.02))
                try:
                    await asyncio.sleep(draw.uniform(0, 0.004))
                finally:
                    slot.end(draw.choice([None, UpstreamTimeout("silent"), RuntimeError()]))

        tasks: list[asyncio.Task[None]] = []
        for number in range(150):
            tasks.append(asyncio.create_task(use()))
            if draw.random() < 0.3:
                draw.choice(tasks).cancel()
            if number == 100:
                workers[2].close()
            for account in pool.accounts:
                assert account.busy <= account.limit
                assert account.completions_busy <= account.completion_limit
            await asyncio.sleep(draw.uniform(0, 0.001))
        await asyncio.wait(tasks)
        await settled()
        assert pool.summary().streams == pool.summary().queued == 0
        assert [account.completions_busy for account in pool.accounts] == [0, 0]
        assert [worker.servers.slots.held for worker in workers] == [0, 0, 0]
        assert not sum(worker.master.running for worker in workers)
