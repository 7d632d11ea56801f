"""One request with accounts that fail: which accounts are called, and how often."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.accounts.account import Account
from gateway.accounts.health import Health
from gateway.accounts.pool import LocalPool
from gateway.config import settings as config
from gateway.errors import (
    AccountRefused,
    GatewayError,
    RateLimited,
    UpstreamError,
    UpstreamTimeout,
)
from gateway.fitten.chat.request import ChatOpener
from gateway.fitten.deadline import Deadline
from gateway.fitten.error_mapping import status_error
from gateway.fitten.failover import Failover
from gateway.fitten.model_catalog import DEFAULT_MODEL
from gateway.generation.outcome import Outcome
from gateway.generation.request import Generation, GenerationRequest
from gateway.store.token_file import Tokens
from tests import virtualtime
from tests.waiting import NEVER


def unreachable() -> GatewayError:
    return UpstreamError("no connection", elsewhere=True)


class FailoverSession:
    """A session whose tokens always work, unless a test says otherwise."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready = True
        self.fault: GatewayError | None = None

    def blocked(self) -> float:
        return 0.0

    async def tokens(self) -> Tokens:
        if self.fault is not None:
            raise self.fault
        return Tokens(self.name, "access", "refresh")

    async def replace(self, rejected: Tokens, way: str) -> Tokens:
        return rejected


class FailoverClient:
    """A Fitten that answers as `plan` says: None is an answer."""

    def __init__(self, plan: Callable[[str], GatewayError | None]) -> None:
        self.plan = plan
        self.calls: Counter[str] = Counter()

    async def chat(self, user_id: str, *_: object, **__: object) -> Any:
        self.calls[user_id] += 1
        if error := self.plan(user_id):
            raise error
        return SimpleNamespace(status=200)


class FailoverBench:
    """A failover opener with a fake client."""

    def __init__(
        self, plan: Callable[[str], GatewayError | None], names: str = "abc", **pool: Any
    ) -> None:
        rules = config.PoolSettings(**pool)
        accounts = [
            Account(
                name,
                FailoverSession(name),
                Health(
                    failures=rules.breaker_failures, pause=rules.breaker_pause, clock=time.monotonic
                ),
                limit=rules.max_concurrent,
                completion_limit=1,
            )
            for name in names
        ]
        self.pool: LocalPool[Any] = LocalPool(
            accounts,
            queue_length=rules.queue_length,
            retry_ratio=rules.retry_ratio,
            queue_wait=rules.queue_wait,
        )
        self.client = FailoverClient(plan)
        client: Any = self.client
        self.opener = ChatOpener(client, Failover(self.pool, rules), self.pool, b"key")
        self.generation = Generation(GenerationRequest(()), DEFAULT_MODEL, Outcome())
        self.first_piece = 60.0

    async def ask(self) -> GatewayError | None:
        """One request; its error."""
        try:
            _, lease = await self.opener.open(
                "hi",
                self.generation,
                Deadline(asyncio.get_running_loop().time() + self.first_piece),
            )
        except GatewayError as error:
            return error
        lease.end(None)
        return None

    @property
    def called(self) -> list[str]:
        return sorted(self.client.calls.elements())


def first_fails(error: GatewayError) -> Callable[[str], GatewayError | None]:
    return lambda name: error if name == "a" else None


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (unreachable(), ["a", "b"]),
        (RateLimited("429", elsewhere=True), ["a", "b"]),
        (AccountRefused("401 after a login"), ["a", "b"]),
        (status_error(401 + 2), ["a", "b"]),
        (status_error(502), ["a", "b"]),
        (status_error(503), ["a", "b"]),
        (status_error(504), ["a", "b"]),
        (status_error(500), ["a"]),
        (status_error(400), ["a"]),
        (status_error(413), ["a"]),
        (UpstreamTimeout("silent"), ["a"]),
        (UpstreamError("reset"), ["a"]),
    ],
)
async def test_another_account_is_asked_only_for_what_had_no_effect(
    error: GatewayError, asked: list[str]
) -> None:
    bench = FailoverBench(first_fails(error))
    assert (await bench.ask() is None) == (len(asked) == 2)
    assert bench.called == asked
    assert bench.pool.summary().streams == 0


async def test_a_login_that_fails_costs_no_budget() -> None:
    bench = FailoverBench(lambda _: None, retry_ratio=0)
    bench.pool.accounts[0].session.fault = UpstreamError("login failed")
    assert await bench.ask() is None
    assert bench.called == ["b"]
    assert bench.generation.outcome.account == "b"
    assert bench.pool.accounts[0].state == "healthy", "the session has pauses of its own"


async def test_at_most_three_accounts_are_asked() -> None:
    bench = FailoverBench(lambda _: unreachable(), names="abcdef", retry_ratio=1)
    for _ in range(20):
        bench.pool.budget.earn()
    assert isinstance(await bench.ask(), UpstreamError)
    assert len(bench.called) == 3


async def test_the_time_for_the_first_piece_holds_for_all_tries_together() -> None:
    def slowly(_: str) -> GatewayError:
        time.sleep(0.02)
        return unreachable()

    bench = FailoverBench(slowly, retry_ratio=1)
    bench.first_piece = 0.01
    await bench.ask()
    assert len(bench.called) == 1


async def test_calls_stay_within_the_budget_while_a_third_of_them_fails() -> None:
    """A fifth of all calls finds no connection, a tenth gets 503."""
    chance = random.Random(1)

    def plan(_: str) -> GatewayError | None:
        drawn = chance.random()
        if drawn < 0.2:
            return unreachable()
        return status_error(503) if drawn < 0.3 else None

    bench = FailoverBench(plan, breaker_failures=0)
    failed = requests = 0
    for requests in range(1, 3001):
        failed += await bench.ask() is not None
        if requests >= 5:
            assert sum(bench.client.calls.values()) <= 1.2 * requests
    assert sum(bench.client.calls.values()) > 1.15 * requests, "the budget is used"
    assert failed / requests < 0.2, "without repeats it would be 0.3"


async def test_an_outage_costs_no_more_calls_than_the_budget_allows() -> None:
    bench = FailoverBench(lambda _: unreachable(), breaker_pause=0.01)
    for _ in range(500):
        await bench.ask()
    assert sum(bench.client.calls.values()) <= 1.2 * 500


@pytest.mark.parametrize("where", ["queue", "session", "call"])
def test_the_deadline_ends_every_wait_and_only_a_call_is_held_against_the_account(
    where: str,
) -> None:
    async def never(*_: object, **__: object) -> Any:
        await asyncio.sleep(NEVER)

    async def main() -> None:
        bench = FailoverBench(lambda _: None, names="a", breaker_failures=1, queue_wait=1e6)
        bench.first_piece = 5.0
        pool: Any = bench.pool
        client: Any = bench.client
        account = bench.pool.accounts[0]
        if where == "queue":
            pool.acquire = never
            pool.take = lambda _: None
        elif where == "session":
            account.session.tokens = never
        else:
            client.chat = never
        began = asyncio.get_running_loop().time()
        error = await bench.ask()
        assert isinstance(error, UpstreamTimeout)
        assert asyncio.get_running_loop().time() == began + 5.0
        assert account.busy == 0
        assert (account.state == "healthy") == (where != "call")
        assert bench.generation.outcome.tries == (where != "queue")
        assert bench.generation.outcome.queued == (5.0 if where == "queue" else 0.0)

    virtualtime.run(main())


async def test_the_outcome_has_each_try_and_the_last_account() -> None:
    bench = FailoverBench(first_fails(status_error(503)))
    assert await bench.ask() is None
    outcome = bench.generation.outcome
    assert (outcome.account, outcome.tries, outcome.upstream_status) == ("b", 2, 200)
