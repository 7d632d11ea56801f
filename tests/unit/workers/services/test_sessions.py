"""Workers get their tokens from the master, which alone logs in and renews them."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import AccountRefused, UpstreamUnauthorized
from gateway.fitten.auth.reauthenticate import call_with_tokens
from gateway.store.token_file import Tokens
from tests.unit.workers.support import connected_workers, master_pool, settled


async def test_tokens_that_are_not_there_yet_are_waited_for() -> None:
    pool = master_pool(1)
    session = pool.accounts[0].session
    session.has_tokens = False
    async with connected_workers(pool) as (worker,):
        slot = await worker.pool.acquire("key", 1.0)
        assert (await slot.account.session.tokens()).refresh_token == "refresh 1"
        session.fails = AccountRefused("wrong password")
        with pytest.raises(AccountRefused, match="wrong password"):
            await (await worker.pool.acquire_completion()).account.session.tokens()


async def test_the_master_replaces_refused_tokens_and_refusals_are_reported() -> None:
    pool = master_pool(1)
    session = pool.accounts[0].session
    used: list[str] = []
    async with connected_workers(pool) as (worker,):
        slot = await worker.pool.acquire("key", 1.0)

        async def call(tokens: Tokens) -> None:
            used.append(tokens.access_token)
            raise UpstreamUnauthorized("401")

        with pytest.raises(AccountRefused):
            await call_with_tokens(slot.account.session, call)
        await settled()
        assert used == ["access 1", "access 2", "access 3"]
        assert [way for _, way in session.replaced] == ["refresh", "login"]
        assert session.refusals == 1
        assert {"access 1", "access 2", "access 3", "u_a"} <= set(worker.secrets)


async def test_a_client_that_leaves_while_tokens_are_fetched_is_forgotten() -> None:
    pool = master_pool(1)
    pool.accounts[0].session.has_tokens = False
    pool.accounts[0].session.hangs = True
    async with connected_workers(pool) as (worker,):
        slot = await worker.pool.acquire("key", 1.0)
        waiting = asyncio.create_task(slot.account.session.tokens())
        await settled()
        assert worker.master.running == 1
        waiting.cancel()
        await asyncio.wait([waiting])
        await settled()
        assert not worker.master.running
