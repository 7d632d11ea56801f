"""What the pool does, case by case; `test_pool_states` tests every order of events."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import structlog

from gateway.accounts.pool import LocalPool, PoolSummary
from gateway.accounts.prompt_digest import KnownDigest
from gateway.errors import AccountRefused, RateLimited, Unavailable, UpstreamError
from gateway.fitten.error_mapping import status_error
from tests.unit.accounts.support import PoolClock, make_pool
from tests.waiting import LONGEST_WAIT


def taken(pool: LocalPool[Any]) -> str:
    lease = pool.take()
    assert lease is not None
    return lease.account.name


async def queued_request(
    pool: LocalPool[Any], key: str | None = "key", wait: float = 5.0
) -> asyncio.Task[Any]:
    """Start a request that waits in the queue."""
    before = pool.summary().queued
    task = asyncio.create_task(pool.acquire(key, wait))
    await asyncio.sleep(0)
    assert pool.summary().queued == before + 1
    return task


def test_slots_are_given_to_the_least_busy_and_to_no_more_than_there_are() -> None:
    pool = make_pool(2, 1)
    assert [taken(pool), taken(pool), taken(pool)] == ["a", "b", "a"]
    assert pool.take() is None


def test_another_account_can_be_asked_for() -> None:
    pool = make_pool(2, 2)
    lease = pool.take(without=[pool.accounts[0].name])
    assert lease is not None
    assert lease.account.name == "b"
    assert pool.take(without=[account.name for account in pool.accounts]) is None


def test_small_calls_have_slots_of_their_own() -> None:
    pool = make_pool(1, completion_limit=2)
    assert taken(pool) == "a"
    pool.take_completion()
    lease = pool.take_completion()
    with pytest.raises(Unavailable) as caught:
        pool.take_completion()
    assert caught.value.code == "server_is_overloaded"
    lease.release("good")
    pool.take_completion()
    assert pool.summary() == PoolSummary(healthy=1, total=1, streams=1, queued=0)


def test_a_small_call_can_prefer_an_account() -> None:
    pool = make_pool(1, 1, 1)
    names = [pool.take_completion(prefer="b").account.name for _ in range(2)]
    assert names == ["b", "b"]
    assert pool.take_completion(prefer="b").account.name != "b", "its slots are taken"
    assert pool.take_completion(prefer="nobody").account.name


async def test_a_queued_request_is_served_as_soon_as_a_slot_is_free() -> None:
    pool = make_pool(1)
    lease = pool.take()
    assert lease is not None
    waiter = await queued_request(pool)
    assert pool.take() is None
    lease.release("good")
    assert (await waiter).account.name == "a"
    assert pool.summary().queued == 0


async def test_who_waits_for_another_account_does_not_get_the_one_that_it_has_tried() -> None:
    """Its pause may end while the others are still busy."""
    clock = PoolClock()
    pool = make_pool(1, 1, clock=clock)
    tried, other = pool.take(), pool.take()
    assert tried is not None
    assert other is not None
    tried.end(RateLimited("The account is busy.", retry_after=1.0))
    waiting = asyncio.create_task(pool.acquire_other("key", 5.0, [tried.account.name]))
    await asyncio.sleep(0)
    clock.now += 2
    pool.grant_slots()
    await asyncio.sleep(0)
    assert not waiting.done()
    other.release("good")
    assert (await waiting).account.name == other.account.name  # type: ignore[union-attr]


async def test_who_waits_for_another_account_is_refused_once_the_others_pause() -> None:
    clock = PoolClock()
    pool = make_pool(1, 1, clock=clock)
    tried, other = pool.take(), pool.take()
    assert tried is not None
    assert other is not None
    tried.end(RateLimited("The account is busy.", retry_after=1.0))
    waiting = asyncio.create_task(pool.acquire_other("key", 5.0, [tried.account.name]))
    await asyncio.sleep(0)
    clock.now += 2
    other.end(RateLimited("The account is busy.", retry_after=60.0))
    with pytest.raises(Unavailable):
        await waiting


async def test_no_request_overtakes_queued_ones() -> None:
    pool = make_pool(1)
    lease = pool.take()
    assert lease is not None
    waiter = await queued_request(pool)
    lease.release("good")
    assert pool.take() is None
    (await waiter).release("good")


async def test_a_wait_that_is_too_long_is_an_error_and_leaves_the_queue_empty() -> None:
    pool = make_pool(1)
    pool.take()
    with pytest.raises(Unavailable) as caught:
        await pool.acquire("key", 0.01)
    assert caught.value.code == "server_is_overloaded"
    assert caught.value.retry_after is not None
    assert pool.summary().queued == 0


async def test_a_full_queue_is_an_error() -> None:
    pool = make_pool(1, queue_length=1)
    pool.take()
    waiter = await queued_request(pool)
    with pytest.raises(Unavailable) as caught:
        await pool.acquire("key", 5)
    assert caught.value.code == "server_is_overloaded"
    waiter.cancel()


async def test_a_displaced_request_gets_an_error() -> None:
    pool = make_pool(1, queue_length=2)
    pool.take()
    first, second = await queued_request(pool, "batch"), await queued_request(pool, "batch")
    other = asyncio.create_task(pool.acquire("alice", 5))
    with pytest.raises(Unavailable):
        await second
    assert not other.done()
    for task in (first, other):
        task.cancel()


async def test_a_request_that_is_cancelled_leaves_the_queue_at_once() -> None:
    pool = make_pool(1)
    pool.take()
    waiter = await queued_request(pool)
    waiter.cancel()
    await asyncio.wait([waiter])
    assert pool.summary().queued == 0


async def test_a_slot_given_to_a_cancelled_request_comes_back() -> None:
    pool = make_pool(1)
    lease = pool.take()
    assert lease is not None
    waiter = await queued_request(pool)
    lease.release("good")
    waiter.cancel()
    await asyncio.wait([waiter])
    assert waiter.cancelled()
    assert pool.summary().streams == 0


async def test_a_queued_request_is_served_by_an_account_that_is_back() -> None:
    clock = PoolClock()
    pool = make_pool(1, 1, clock=clock)
    cooling = pool.take()
    assert cooling is not None
    cooling.release("limited", RateLimited("429", retry_after=0.05))
    pool.take()
    waiter = await queued_request(pool)
    clock.now += 0.06
    async with asyncio.timeout(LONGEST_WAIT):
        assert (await waiter).account is cooling.account


async def test_queued_requests_get_an_error_when_the_last_account_goes() -> None:
    pool = make_pool(1)
    lease = pool.take()
    assert lease is not None
    waiters = [await queued_request(pool) for _ in range(3)]
    lease.release("limited", RateLimited("limited", retry_after=7))
    errors = await asyncio.gather(*waiters, return_exceptions=True)
    assert len({id(error) for error in errors}) == 3
    for error in errors:
        assert isinstance(error, RateLimited)
        assert error.retry_after is not None
        assert 7 <= error.retry_after <= 8.5


async def test_without_an_account_the_error_says_why_and_when_the_next_is_back() -> None:
    pool = make_pool(1, 1, failures=1, pause=30)
    first, second = pool.take(), pool.take()
    assert first is not None
    assert second is not None
    first.end(UpstreamError("broken"))
    assert pool.fault() is None
    second.end(RateLimited("limited", retry_after=4))
    error = pool.fault()
    assert isinstance(error, RateLimited)
    assert error.code == "upstream_rate_limited"
    assert error.retry_after is not None
    assert 4 <= error.retry_after <= 4.8
    with pytest.raises(RateLimited):
        await pool.acquire("key", 5)


async def test_without_an_account_the_error_names_the_last_failure() -> None:
    pool = make_pool(1, failures=1, pause=30)
    lease = pool.take()
    assert lease is not None
    lease.end(UpstreamError("The certificate is not trusted."))
    error = pool.fault()
    assert type(error) is Unavailable
    assert error.code == "no_account_available"
    assert error.message.endswith(": The certificate is not trusted.")


async def test_when_all_credentials_are_refused_the_error_is_not_retryable() -> None:
    pool = make_pool(1, 1)
    for account in pool.accounts:
        account.session.refuse()
    error = pool.fault()
    assert isinstance(error, AccountRefused)
    assert not error.retryable
    assert [account.state for account in pool.accounts] == ["dead", "dead"]
    with pytest.raises(AccountRefused):
        await pool.acquire("key", 5)


def test_before_the_first_login_the_pool_is_not_ready_but_takes_requests() -> None:
    pool = make_pool(1)
    pool.accounts[0].session.ready = False
    error = pool.fault()
    assert error is not None
    assert "login" in error.message
    assert pool.take() is not None


def test_the_summary_counts_accounts_that_serve() -> None:
    pool = make_pool(2, 2, 2)
    pool.take()
    pool.take()
    pool.accounts[2].session.refuse()
    assert pool.summary() == PoolSummary(healthy=2, total=3, streams=2, queued=0)


def test_changes_of_an_account_are_in_the_log_with_its_name() -> None:
    clock = PoolClock()
    pool = make_pool(1, clock=clock)
    with structlog.testing.capture_logs() as logged:
        for outcome in ("limited", "good", "good", "refused"):
            lease = pool.take()
            assert lease is not None
            lease.release(outcome, RateLimited("why"))
            clock.now += 2
    assert [(e["event"], e["account"]) for e in logged] == [
        ("account_cooling", "a"),
        ("account_recovered", "a"),
        ("account_dead", "a"),
    ]


def test_an_account_shows_itself_without_secrets() -> None:
    assert repr(make_pool(3).accounts[0]) == "<Account a healthy 0/3>"


def fails_everywhere(pool: LocalPool[Any], prompt: bytes) -> str:
    """One request that fails with each account in turn; the states of the accounts."""
    for account in pool.accounts:
        others = [other.name for other in pool.accounts if other is not account]
        if (lease := pool.take(KnownDigest(prompt), without=others)) is not None:
            lease.end(status_error(503))
    return " ".join(account.state for account in pool.accounts)


def test_prompts_that_fail_everywhere_are_forgiven_until_there_are_too_many() -> None:
    pool = make_pool(1, 1, failures=1, pause=60.0)
    for round_number in range(5):
        for number in range(3):
            states = fails_everywhere(pool, b"%d %d" % (round_number, number))
            assert states == "healthy healthy"
        lease = pool.take()
        assert lease is not None
        lease.end(None)  # an account serves one: the count begins anew
    for number in range(1000):
        states = fails_everywhere(pool, b"outage %d" % number)
    assert states == "cooling cooling"
    assert len(pool.forgiven) <= 3


async def test_a_queue_that_a_reload_made_shorter_refuses_whom_it_has_no_room_for() -> None:
    clock = PoolClock()
    former = make_pool(1, clock=clock, queue_length=5)
    holder = former.take()
    assert holder is not None
    waiting = [asyncio.create_task(former.acquire(f"key {n}", 60.0)) for n in range(4)]
    await asyncio.sleep(0)
    pool = make_pool(1, clock=clock, queue_length=1, queue_wait=100.0)
    pool.take_over(former)
    holder.release("limited", RateLimited("limited", retry_after=5))  # all pause, briefly
    await asyncio.sleep(0)
    ended = [task for task in waiting if task.done()]
    assert len(ended) == 3
    assert all(isinstance(task.exception(), Unavailable) for task in ended)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
