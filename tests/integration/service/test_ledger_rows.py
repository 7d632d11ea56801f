"""What a row says of a request, by route and end; and which requests have none."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from emulator import EmulatedAccount, Emulator
from gateway.app import ACCOUNTS
from gateway.server.single_process import SingleProcess
from tests.conftest import StartGateway
from tests.integration.peer import CHAT
from tests.support import KEY, Gateway
from tests.waiting import eventually

PASSWORD = "correct horse"

SAY = {"messages": [{"role": "user", "content": "[[say text=one%20two]]"}]}
FAILS = {"messages": [{"role": "user", "content": "[[status code=500]]"}]}
SENT: list[tuple[str, dict[str, Any]]] = [
    (CHAT, {**SAY, "stream": True}),
    ("/v1/messages", {**SAY, "max_tokens": 50}),
    ("/v1/responses", {"input": "[[say]]"}),
    ("/api/chat", {**SAY, "stream": False}),
    ("/v1/completions", {"prompt": "x = "}),
    ("/v1/fim/completions", {"prompt": "x = ", "suffix": "\n"}),
    ("/infill", {"input_prefix": "x = ", "input_suffix": "\n"}),
    ("/api/generate", {"prompt": "x = ", "suffix": "\n", "stream": False}),
    (CHAT, {"messages": "none"}),
    (CHAT, FAILS),
    (CHAT, SAY),
]
# The family of the client's program; the rest could tell who it is.
AGENT = "OpenAI/Python 1.2.3 alice@laptop-of-alice"


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """A Fitten with three accounts."""
    accounts = [EmulatedAccount(name, PASSWORD) for name in ("demo_user", "ann77", "bob77")]
    async with Emulator(accounts=accounts) as running:
        yield running


def read(gateway: Gateway) -> tuple[list[sqlite3.Row], str]:
    """Return the rows of alice in the order they came, and all that the database has."""
    assert gateway.config.store_file is not None
    with contextlib.closing(sqlite3.connect(gateway.config.store_file)) as database:
        database.row_factory = sqlite3.Row
        rows = database.execute(
            "SELECT request.*, key.name AS key, team.name AS team FROM request"
            " JOIN key ON key.id = request.key_id"
            " LEFT JOIN team ON team.id = request.team_id ORDER BY request.id"
        ).fetchall()
        assert database.execute("SELECT count(*) FROM request").fetchone()[0] == len(rows)
        return rows, "\n".join(database.iterdump())


async def test_rows_say_how_each_request_ended(start_gateway: StartGateway) -> None:
    alice = {"name": "alice", "key": KEY, "team": "web", "requests_per_day": 9}
    gateway = await start_gateway(
        middlewares=["request_id", {"api_key": {"keys": [alice]}}],
        teams=[{"name": "web"}],
        store={"url": "sqlite:///rows.db"},
    )
    service = SingleProcess(gateway.config)
    url = await service.start()
    statuses = []
    async with aiohttp.ClientSession(headers={"User-Agent": AGENT}) as http:
        for number, (path, body) in enumerate(SENT):
            known = {"Authorization": f"Bearer {KEY}", "x-request-id": f"req_{number}"}
            async with http.post(url + path, json=body, headers=known) as response:
                sent = len(await response.read())
                statuses.append(response.status)
                if number == 0:
                    first_bytes = sent
        for headers, path in (({"Authorization": "Bearer wrong"}, CHAT), (known, "/api/show")):
            async with http.post(url + path, json=SAY, headers=headers) as response:
                assert response.status in (401, 404, 400)
        async with http.get(f"{url}/v1/models", headers=known) as response:
            assert response.status == 200
    await service.stop()
    assert statuses == [200] * 8 + [400, 502, 429]
    rows, text = read(gateway)
    rows.sort(key=lambda row: int(row["request_id"].removeprefix("req_")))
    assert [row["request_id"] for row in rows] == [f"req_{number}" for number in range(len(SENT))]
    assert [row["status"] for row in rows] == statuses
    chats, fills = ["chat"] * 4, ["completion", "fim", "infill", "completion"]
    assert [row["route"] for row in rows] == [*chats, *fills, "chat", "chat", "chat"]
    assert [row["ended"] for row in rows[8:]] == [
        "invalid_type",
        "upstream_error",
        "insufficient_quota",
    ]
    assert [row["cause"] for row in rows] == [None] * 8 + [row["ended"] for row in rows[8:]]
    assert [row["refused"] for row in rows] == [0] * 8 + [1, 0, 1]
    assert [row["stream"] for row in rows] == [1] + [0] * 10
    first = dict(rows[0])
    assert (first["key"], first["team"], first["model"]) == ("alice", "web", "fitten-code")
    assert (first["finish_reason"], first["usage_source"]) == ("stop", "upstream")
    assert first["prompt_tokens"] > 0 < first["completion_tokens"]
    assert 0 <= first["first_ms"] <= first["duration_ms"]
    assert (first["tries"], first["account"], first["bytes"]) == (1, "demo_user", first_bytes)
    for row in (rows[8], rows[10]):  # the upstream was not asked
        assert (row["tries"], row["prompt_tokens"], row["completion_tokens"]) == (0, 0, 0)
    assert {row["client"] for row in rows} == {"OpenAI/Python"}
    for private in ("laptop-of-alice", "127.0.0.1", KEY, "one two", "one%20two", "x = "):
        assert private not in text, private


async def test_rows_of_a_break_of_a_second_account_and_of_who_leaves_the_queue(
    start_gateway: StartGateway, emulator: Emulator
) -> None:
    """What was delivered is charged with its prompt; in the queue a request uses no token."""
    accounts = [{"username": name, "password": PASSWORD} for name in ("ann77", "bob77")]
    gateway = await start_gateway(
        middlewares=[{"api_key": {"keys": [{"name": "alice", "key": KEY}]}}],
        fitten={"accounts": accounts, "pool": {"max_concurrent": 1, "queue_wait": 60}},
        limits={"tokens_per_day": "1m", "requests_per_day": 10},
        store={"url": "sqlite:///rows.db"},
    )
    service = SingleProcess(gateway.config)
    url = await service.start() + CHAT
    await service.wait_for_upstream()

    def chat(text: str, **more: Any) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": text}], **more}

    known = {"Authorization": f"Bearer {KEY}"}
    pool: Any = service.entrypoint.app[ACCOUNTS].pool
    async with aiohttp.ClientSession(headers=known) as http:
        broken = chat("[[truncate how=reset after=2]]", stream=True)
        async with http.post(url, json=broken) as response:
            assert b"upstream_truncated" in await response.read()
        streams = [await http.post(url, json=chat("[[endless]]", stream=True)) for _ in range(2)]
        queued = asyncio.create_task(http.post(url, json=chat("[[say]]")))
        await eventually(lambda: pool.queue.size == 1)
        queued.cancel()
        await eventually(lambda: pool.queue.size == 0)
        for stream in streams:
            await stream.content.readuntil(b"w0 ")
            stream.close()
        await eventually(lambda: not any(account.busy for account in pool.accounts))
        emulator.account("ann77").scenarios.add("chat_429")
        for _ in range(2):
            async with http.post(url, json=chat("[[say]]")) as response:
                assert response.status == 200
        async with http.get(url.replace("/chat/completions", "/usage")) as response:
            limits = {one["limit"]: one["used"] for one in (await response.json())["limits"]}
    await service.stop()
    rows, _ = read(gateway)
    assert [row["ended"] for row in rows] == [
        *("upstream_truncated", "client_closed_request", "client_closed_request"),
        *("client_closed_request", "complete", "complete"),
    ]
    truncated, left = dict(rows[0]), dict(rows[3])
    assert (truncated["tries"], truncated["usage_source"]) == (1, "estimated")
    assert truncated["prompt_tokens"] > 0 < truncated["completion_tokens"]
    assert (left["tries"], left["usage_source"], left["first_ms"]) == (0, "none", None)
    assert left["prompt_tokens"] + left["completion_tokens"] == 0
    # Both accounts were free. The first choice of one of the two was the one that is limited.
    assert sorted((row["tries"], row["account"]) for row in rows[4:]) == [
        (1, "bob77"),
        (2, "bob77"),
    ]
    tokens = sum(row["prompt_tokens"] + row["completion_tokens"] for row in rows)
    assert limits == {"tokens_per_day": tokens, "requests_per_day": 6}


@pytest.mark.parametrize("refused", [True, False])
async def test_rows_of_refused_requests_can_be_switched_off(
    start_gateway: StartGateway, refused: bool
) -> None:
    gateway = await start_gateway(
        middlewares=[{"api_key": {"keys": [{"name": "alice", "key": KEY}]}}],
        store={"url": "sqlite:///rows.db"},
        ledger={"refused": refused},
    )
    service = SingleProcess(gateway.config)
    url = await service.start() + CHAT
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as http:
        for body in (SAY, {"messages": "none"}):
            async with http.post(url, json=body) as response:
                await response.read()
    await service.stop()
    rows, _ = read(gateway)
    assert [row["refused"] for row in rows] == [0, 1][: 1 + refused]
