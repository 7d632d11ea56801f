"""Logins and model lists that are made without a request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from gateway.accounts.pool import LocalPool
from gateway.errors import GatewayError, UpstreamError, UpstreamUnauthorized
from gateway.fitten.background_refresh import BackgroundRefresh
from gateway.generation.model import Model
from gateway.store.token_file import Tokens
from tests.unit.accounts.support import make_pool
from tests.waiting import LONGEST_WAIT, eventually

LIST = {"chat": [{"selection_name": "S1", "display_name": "One"}]}


class RefreshSession:
    """A session that can log in as often as the test allows."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready = False
        self.fault: GatewayError | None = None
        self.fails = 0
        self.tries = 0
        self.next_try = 0.0  # the least that is waited is half a second

    def blocked(self) -> float:
        return 0.0

    async def tokens(self) -> Tokens:
        self.tries += 1
        if self.tries <= self.fails:
            self.fault = UpstreamError("login failed")
            raise self.fault
        self.ready, self.fault = True, None
        return Tokens(self.name, f"access {self.name}", "refresh")


class RefreshClient:
    """A Fitten with a list of models, which it refuses to some accounts."""

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self.asked: list[str] = []

    async def chat_models(self, access_token: str) -> dict[str, Any]:
        self.asked.append(access_token)
        if access_token in self.refused:
            raise UpstreamUnauthorized("another token")
        return LIST


class RefreshBench:
    def __init__(self, *, interval: float = 60.0) -> None:
        self.pool: LocalPool[Any] = make_pool(1, 1)
        for account in self.pool.accounts:
            account.session = RefreshSession(account.name)
        self.client = RefreshClient()
        client: Any = self.client
        self.found: list[Sequence[Model]] = []
        self.refresh = BackgroundRefresh(client, self.pool, interval=interval)

    async def run(self, until: Callable[[], object]) -> None:
        """Run the refresh until that is true."""
        task = asyncio.create_task(self.refresh.run(self.found.append))
        try:
            await eventually(until)
        finally:
            task.cancel()
            await asyncio.wait([task])


async def test_every_account_is_logged_in_and_the_models_are_read_once() -> None:
    bench = RefreshBench()
    await bench.run(bench.refresh.tried.is_set)
    assert [account.ready for account in bench.pool.accounts] == [True, True]
    assert [model.id for model in bench.found[0]] == ["One"]
    assert len(bench.client.asked) == 1
    assert bench.refresh.tried.is_set()


async def test_the_list_is_asked_for_with_another_account_where_one_is_refused() -> None:
    bench = RefreshBench()
    bench.client.refused.add("access a")
    await bench.run(lambda: bench.found)
    assert bench.client.asked == ["access a", "access b"]


async def test_the_first_try_is_over_when_all_accounts_have_failed() -> None:
    bench = RefreshBench()
    first, second = (account.session for account in bench.pool.accounts)
    first.fails = second.fails = 1
    await bench.run(bench.refresh.tried.is_set)
    assert (first.tries, second.tries) == (1, 1)


async def test_a_login_that_failed_is_tried_again_at_its_time() -> None:
    bench = RefreshBench()
    session = bench.pool.accounts[0].session
    session.fails = 1
    began = asyncio.get_running_loop().time()
    await bench.run(lambda: session.ready)
    assert asyncio.get_running_loop().time() - began >= 0.45


async def test_a_retired_refresh_ends() -> None:
    bench = RefreshBench(interval=0.01)
    task = asyncio.create_task(bench.refresh.run(bench.found.append))
    await bench.refresh.tried.wait()
    bench.refresh.retire()
    await asyncio.wait([task], timeout=LONGEST_WAIT)
    assert task.done()


async def test_a_bug_does_not_end_the_refresh() -> None:
    bench = RefreshBench(interval=0.01)
    bench.pool.accounts[0].session.tokens = None
    await bench.run(lambda: bench.found)
    assert bench.pool.accounts[1].ready


async def test_an_account_that_an_admin_lets_rest_gets_no_login_also_after_a_reload() -> None:
    former, bench = RefreshBench(), RefreshBench()
    former.pool.accounts[0].pause(None)
    bench.pool.take_over(former.pool)  # which keeps the former objects of the accounts
    await bench.run(lambda: bench.pool.accounts[1].ready and bench.refresh.tried.is_set())
    resting, other = (account.session for account in bench.pool.accounts)
    assert (resting.tries, other.tries > 0) == (0, True)
    assert bench.client.asked == ["access b"]
