"""Limits are exact over several workers, and a worker that ends gives its places back."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.limits.claims import Claim, Scope
from gateway.limits.meter import Meter
from gateway.limits.names import LIMIT_NAMES
from gateway.workers.services.composition import MasterState
from tests.unit.workers.support import WorkerConnection, connected_workers, master_pool, settled


def chat(claim_id: object, *, prompt: int = 10, tokens: int = 30, **limits: int) -> Claim:
    return Claim(str(claim_id), (Scope("key alice", limits), GATEWAY), "chat", tokens, prompt)


GATEWAY = Scope("gateway", {})
AT_ONCE = {"concurrency": 2}


def meter_of(worker: WorkerConnection) -> Meter:
    return worker.remote_state.meter


async def used(meter: Meter, **limits: int) -> dict[str, int]:
    standings = await meter.standings((Scope("key alice", limits),))
    return {standing.limit: standing.used for standing in standings}


async def test_requests_are_counted_over_all_workers() -> None:
    """300 at once at each limit of requests admit exactly it."""
    async with connected_workers(master_pool(1), 3) as workers:
        for limit in ("chats_per_minute", "concurrency", "requests_per_day", "requests_per_month"):
            claims = [
                meter_of(workers[number % 3]).claim(
                    Claim(f"{limit} {number}", (Scope(f"key {limit}", {limit: 40}),), "chat")
                )
                for number in range(300)
            ]
            verdicts = await asyncio.gather(*claims)
            assert sum(verdict.admitted for verdict in verdicts) == 40, limit


async def test_a_verdict_comes_whole_through_the_channel() -> None:
    async with connected_workers(master_pool(1), 2) as (one, other):
        limits: dict[str, int] = dict.fromkeys(LIMIT_NAMES, 100)
        admitted = await meter_of(one).claim(chat(1, **limits))
        assert admitted.admitted
        assert admitted.requests_standing is not None
        assert admitted.tokens_standing is not None
        assert (admitted.requests_standing.left, admitted.tokens_standing.left) == (99, 70)
        meter_of(one).settle("1", 100)
        await settled()
        refused = await meter_of(other).look((Scope("key alice", limits), GATEWAY), "chat")
        assert refused is not None
        assert (refused.scope, refused.limit) == ("key alice", "tokens_per_7d")
        assert refused.retry_after > 6 * 86_400
        assert await meter_of(other).look((GATEWAY,), "chat") is None
        found = await used(meter_of(other), **limits)
        assert found["tokens_per_day"] == 100
        assert found["concurrency"] == 0


async def test_a_claim_waits_in_the_line_of_the_master_until_another_worker_settles() -> None:
    async with connected_workers(master_pool(1), 2, waiting()) as (one, other):
        for number in (1, 2):
            assert (await meter_of(one).claim(chat(number, **AT_ONCE))).admitted
        third = asyncio.ensure_future(meter_of(other).claim(chat(3, **AT_ONCE)))
        await settled()
        assert not third.done()
        meter_of(one).settle("1", 5)
        assert (await third).admitted
        assert (await used(meter_of(one), **AT_ONCE))["concurrency"] == 2


async def test_a_client_that_leaves_the_line_takes_nothing() -> None:
    async with connected_workers(master_pool(1), 2, waiting()) as (one, other):
        for number in (1, 2):
            await meter_of(one).claim(chat(number, requests_per_day=10, **AT_ONCE))
        third = asyncio.ensure_future(
            meter_of(other).claim(chat(3, requests_per_day=10, **AT_ONCE))
        )
        await settled()
        third.cancel()
        await settled()
        for number in (1, 2):
            meter_of(one).settle(str(number), 5)
        await settled()
        found = await used(meter_of(one), requests_per_day=10, **AT_ONCE)
        assert found == {"concurrency": 0, "requests_per_day": 2}


async def test_a_client_that_leaves_while_the_verdict_is_on_its_way_takes_nothing() -> None:
    async with connected_workers(master_pool(1)) as (worker,):
        claim = asyncio.ensure_future(
            meter_of(worker).claim(chat(1, requests_per_day=10, tokens_per_day=100, **AT_ONCE))
        )
        await asyncio.sleep(0)  # it is sent, and nothing has come back
        claim.cancel()
        await settled()
        found = await used(meter_of(worker), requests_per_day=10, tokens_per_day=100, **AT_ONCE)
        assert found == {"concurrency": 0, "requests_per_day": 0, "tokens_per_day": 0}


async def test_a_worker_that_ends_gives_its_places_back_and_is_charged_the_prompts() -> None:
    limits = {"tokens_per_day": 1000, **AT_ONCE}
    async with connected_workers(master_pool(1), 3, waiting()) as (lost, other, third):
        for number in (1, 2):
            await meter_of(lost).claim(chat(number, **limits))
        line: list[Any] = [
            asyncio.ensure_future(meter_of(worker).claim(chat(f"w{number}", **limits)))
            for number, worker in enumerate((other, third))
        ]
        await settled()
        assert (await used(meter_of(other), **limits)) == {"concurrency": 2, "tokens_per_day": 60}
        lost.close()
        assert [verdict.admitted for verdict in await asyncio.gather(*line)] == [True, True]
        for number in range(2):
            meter_of(other).settle(f"w{number}", 0)
        await settled()
        assert await used(meter_of(other), **limits) == {"concurrency": 0, "tokens_per_day": 20}


async def test_a_listing_is_not_open_after_its_verdict() -> None:
    state = MasterState()
    async with connected_workers(master_pool(1), 1, state) as (worker,):
        claim = Claim("1", (Scope("key alice", {"listings_per_minute": 1}),), "listing")
        assert (await meter_of(worker).claim(claim)).admitted
        assert state.meter.meter.open == 0
        assert worker.servers.limits._open == set()


def waiting() -> MasterState:
    """Return a master whose callers wait in line for a minute."""
    state = MasterState()
    state.meter.wait = 60.0
    return state
