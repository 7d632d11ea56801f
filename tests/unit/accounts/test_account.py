"""An admin lets an account rest: no call begins, and everything else goes on."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from gateway.accounts.account import Account
from gateway.accounts.pool_errors import no_account_error
from gateway.errors import Unavailable, UpstreamError
from tests.unit.accounts.support import PoolClock, make_pool


def state_of(account: Account[Any]) -> str:
    return account.state


def test_a_paused_account_gets_no_call_until_it_is_resumed() -> None:
    clock = PoolClock()
    pool = make_pool(2, 2, clock=clock)
    one = pool.accounts[0]
    lease = pool.take()
    assert lease is not None
    assert lease.account is one
    one.pause(None)
    assert (state_of(one), one.pause_left(), one.wait()) == ("paused", math.inf, math.inf)
    taken = [pool.take() for _ in range(3)]
    assert [t.account.name for t in taken if t] == ["b", "b"], "open calls go on, no new ones"
    assert pool.summary().healthy == 1
    one.resume()
    assert state_of(one) == "healthy"
    assert pool.take() is not None


def test_a_pause_for_some_seconds_ends_by_itself() -> None:
    clock = PoolClock()
    pool = make_pool(1, clock=clock)
    (account,) = pool.accounts
    account.pause(30)
    assert pool.take() is None
    with pytest.raises(Unavailable):
        pool.take_completion()
    clock.now += 29
    assert account.pause_left() == 1
    clock.now += 1
    assert state_of(account) == "healthy"
    assert account.pause_left() == 0
    assert pool.take() is not None


def test_the_error_says_that_an_admin_has_paused_the_accounts() -> None:
    clock = PoolClock()
    pool = make_pool(1, 1, clock=clock)
    for account in pool.accounts:
        account.pause(None)
    error = no_account_error(pool.accounts)
    assert isinstance(error, Unavailable)
    assert error.code == "no_account_available"
    assert "paused" in error.message
    assert error.retry_after == 60
    assert error.retryable
    pool.accounts[1].pause(7)
    error = no_account_error(pool.accounts)
    assert error is not None
    assert error.retry_after == 7
    assert pool.fault() is not None


def test_a_pause_outlasts_a_reload() -> None:
    clock = PoolClock()
    former = make_pool(1, clock=clock)
    former.accounts[0].pause(None)
    pool = make_pool(3, clock=clock)
    pool.take_over(former)
    assert pool.accounts[0].limit == 3
    assert pool.accounts[0].state == "paused"
    assert pool.take() is None


def test_a_pause_of_an_admin_and_one_after_failures_do_not_end_each_other() -> None:
    clock = PoolClock()
    pool = make_pool(1, clock=clock, failures=1, pause=5.0)
    (account,) = pool.accounts
    lease = pool.take()
    assert lease is not None
    account.pause(3)
    lease.release("bad", UpstreamError("broken"))
    assert state_of(account) == "paused"
    clock.now += 3
    assert state_of(account) == "cooling"
    assert account.wait() == 2
    account.health.allow_probe()
    assert state_of(account) == "half_open"
    assert account.wait() == 0


async def test_requests_that_wait_are_refused_if_the_last_account_is_paused() -> None:
    pool = make_pool(1)
    (account,) = pool.accounts
    lease = pool.take()
    waiting = asyncio.create_task(pool.acquire("alice", 60))
    await asyncio.sleep(0)
    account.pause(None)
    pool.grant_slots()
    with pytest.raises(Unavailable, match="paused"):
        await waiting
    assert lease is not None
    lease.release("good")
    account.resume()
    assert (await pool.acquire("alice", 60)).account is account
