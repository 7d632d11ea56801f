"""What a reload must not change: slots in use, queued requests, the health of accounts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.accounts.pool import LocalPool
from gateway.errors import Unavailable
from tests.unit.accounts.support import PoolClock, make_pool


async def queued_request(pool: LocalPool[Any], key: str) -> asyncio.Task[Any]:
    task = asyncio.create_task(pool.acquire(key, 5.0))
    await asyncio.sleep(0)
    return task


def test_slots_in_use_count_with_the_new_settings_too() -> None:
    former, pool = make_pool(2), make_pool(2)
    lease = former.take()
    assert lease is not None
    pool.take_over(former)
    assert pool.take() is not None
    assert pool.take() is None
    lease.release("good")
    assert pool.take() is not None


def test_a_lower_limit_holds_for_new_requests() -> None:
    former, pool = make_pool(3), make_pool(1)
    leases = [former.take() for _ in range(3)]
    pool.take_over(former)
    for lease in leases:
        assert lease is not None
        assert pool.take() is None
        lease.release("good")
    assert pool.take() is not None


async def test_a_queued_request_keeps_its_place_before_later_ones() -> None:
    former, pool = make_pool(1), make_pool(1)
    lease = former.take()
    assert lease is not None
    waiting = await queued_request(former, "key")
    pool.take_over(former)
    later = await queued_request(pool, "key")
    assert pool.summary().queued == 2
    lease.release("good")
    first = await waiting
    assert not later.done()
    first.release("good")
    (await later).release("good")
    assert pool.summary().queued == pool.summary().streams == 0


async def test_a_request_queued_in_the_former_pool_is_served_by_a_new_account() -> None:
    former, pool = make_pool(1), make_pool(1, 1)
    assert former.take() is not None
    waiting = await queued_request(former, "key")
    pool.take_over(former)
    assert (await waiting).account.name == "b"


async def test_a_request_to_the_former_pool_is_served_from_the_same_slots() -> None:
    former, pool = make_pool(1), make_pool(1)
    pool.take_over(former)
    lease = former.take()
    assert lease is not None
    assert pool.take() is None
    waiting = await queued_request(former, "key")
    lease.release("good")
    (await waiting).release("good")
    assert pool.take() is not None


def test_a_pause_outlasts_a_reload() -> None:
    clock = PoolClock()
    former, pool = (make_pool(1, clock=clock, failures=1) for _ in range(2))
    lease = former.take()
    assert lease is not None
    lease.release("bad")
    pool.take_over(former)
    with pytest.raises(Unavailable):
        pool.take_completion()
    clock.now += 5.0
    probe = pool.take()
    assert probe is not None
    assert probe.probe


def test_new_rules_of_health_hold_at_once() -> None:
    former, pool = make_pool(1, failures=5), make_pool(1, failures=1)
    pool.take_over(former)
    lease = pool.take()
    assert lease is not None
    lease.release("bad")
    assert pool.accounts[0].state == "cooling"


async def test_the_queue_has_the_new_length() -> None:
    former, pool = make_pool(1, queue_length=5), make_pool(1, queue_length=1)
    assert former.take() is not None
    waiting = await queued_request(former, "key")
    pool.take_over(former)
    with pytest.raises(Unavailable):
        await pool.acquire("key", 5.0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert pool.summary().queued == 0


def test_repeats_are_paid_from_the_same_budget() -> None:
    former, pool = make_pool(1, retry_ratio=0.2), make_pool(1, retry_ratio=0.2)
    assert former.budget.spend()
    pool.take_over(former)
    assert not pool.budget.spend()
