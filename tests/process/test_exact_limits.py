"""300 requests at once, at each limit: exactly so many are admitted, with one process and more."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise
from typing import Any

import aiohttp
import pytest

from emulator import Emulator
from gateway.limits.names import BUDGET_NAMES, LIMIT_NAMES, TOKEN_NAMES
from tests.integration.peer import UPSTREAM_CHAT
from tests.process.conftest import Configure
from tests.process.systemd import FakeSystemd
from tests.waiting import NEVER, eventually

SENT, ADMITTED = 300, 40
MOST_TOKENS = 10  # of an answer; so much is reserved besides the prompt
TEXT = f"[[slow first={NEVER} n=1]]"
PATHS = {"completions_per_minute": "/v1/completions", "listings_per_minute": "/v1/models"}


def numbers(limit: str) -> tuple[int, int]:
    """Return a limit of a team, and the larger one of its key."""
    return (2000, 3000) if limit in TOKEN_NAMES else (ADMITTED, ADMITTED + 20)


def sections() -> dict[str, Any]:
    keys, teams = [], []
    for limit in LIMIT_NAMES:
        of_team, of_key = numbers(limit)
        teams.append({"name": limit, limit: of_team})
        keys.append({"name": limit, "key": secret(limit), "team": limit, limit: of_key})
    return {"middlewares": [{"api_key": {"keys": keys}}], "teams": teams}


def secret(name: str) -> str:
    return f"key-of-{name}-0123456789"


class LimitedCaller:
    """Sends what a limit is about, with the key of that limit.

    left: what each admitted answer said is left of the tokens.
    """

    def __init__(self, http: aiohttp.ClientSession, url: str, limit: str) -> None:
        self.http, self.limit = http, limit
        self.path = PATHS.get(limit, "/v1/chat/completions")
        self.url = url + self.path
        self.statuses: list[int] = []
        self.left: list[int] = []

    async def send(self) -> None:
        body: dict[str, Any] | None = None
        if self.path.endswith("chat/completions"):
            body = {"messages": [{"role": "user", "content": TEXT}], "max_tokens": MOST_TOKENS}
        elif self.path.endswith("completions"):
            body = {"prompt": "x = "}  # a newer one of the same key ends it
        method = "GET" if body is None else "POST"
        headers = {"Authorization": f"Bearer {secret(self.limit)}"}
        async with self.http.request(method, self.url, json=body, headers=headers) as response:
            text = await response.text()
        if response.status == 429:
            assert f"team {self.limit}" in text, text
        elif self.limit in TOKEN_NAMES:
            self.left.append(int(response.headers["x-ratelimit-remaining-tokens"]))
        self.statuses.append(response.status)


@pytest.mark.parametrize("workers", [1, 3])
async def test_300_requests_at_each_limit_of_a_team_below_that_of_its_key(
    fake_systemd: FakeSystemd, configure: Configure, emulator: Emulator, workers: int
) -> None:
    """What is admitted stays open until all are decided: so what is reserved counts too.

    The process that decides says once of each budget how much of it is used.
    """
    pool = {"pool": {"max_concurrent": 1000}}
    configure(server={"workers": workers}, fitten=pool, **sections())
    service = await fake_systemd.start()
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as http:
        for limit in LIMIT_NAMES:
            caller = LimitedCaller(http, fake_systemd.url, limit)
            before = len(emulator.calls_to(UPSTREAM_CHAT))
            tasks = [asyncio.create_task(caller.send()) for _ in range(SENT)]

            def all_decided(caller: LimitedCaller = caller, before: int = before) -> bool:
                held = len(emulator.calls_to(UPSTREAM_CHAT)) - before
                return len(caller.statuses) + held == SENT

            await eventually(all_decided)
            while not all(task.done() for task in tasks):
                emulator.release()
                await asyncio.sleep(0.01)
            await asyncio.gather(*tasks)
            refused = caller.statuses.count(429)
            if limit not in TOKEN_NAMES:
                assert refused == SENT - ADMITTED, limit
                continue
            most, _ = numbers(limit)
            # Each worker estimates prompts by the answers that it has seen.
            left = sorted(caller.left, reverse=True)
            costs = [before - after for before, after in pairwise([most, *left])]
            assert len(costs) == SENT - refused
            assert min(costs) > 0, limit  # each has reserved, and nobody the same tokens
            # No other prompt fits; the last answer may have got what was left.
            assert 0 <= left[-1] < max(costs) - MOST_TOKENS, limit

    def said() -> list[dict[str, Any]]:
        return [line for line in service.lines if line["event"] == "budget_reached"]

    every = {(f"team {limit}", limit) for limit in BUDGET_NAMES}
    await eventually(lambda: {(line["scope"], line["limit"]) for line in said()} == every)
    shares = Counter((line["limit"], line["percent"]) for line in said())
    assert set(shares.values()) == {1}
    assert shares["requests_per_day", 100] == shares["requests_per_month", 100] == 1
    assert not any("worker" in line for line in said())
