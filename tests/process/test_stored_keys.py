"""Keys made at run time with several workers: a change holds in each of them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from gateway.keys.records import KeyRecord
from gateway.server.reload import ConfigSource
from gateway.workers.master import Master
from tests.conftest import StartGateway
from tests.integration.peer import CHAT
from tests.process.systemd import children
from tests.unit.keys.support import key, table
from tests.waiting import LONGEST_WAIT, eventually

WORKERS = 3
IN_FLIGHT = 200


@pytest.fixture
async def master(start_gateway: StartGateway) -> AsyncIterator[tuple[Master, str]]:
    """Run a master with workers; return it with its URL."""
    gateway = await start_gateway(
        middlewares=["request_id", {"api_key": {"keys": []}}],
        fitten={"pool": {"max_concurrent": 2 * IN_FLIGHT}},
        store={"url": "none"},
    )
    config = gateway.config
    running = Master(replace(config, server=replace(config.server, workers=WORKERS)))
    running._state.keys.longest_wait = LONGEST_WAIT
    try:
        yield running, await running.start()
        await running.stop()
    finally:
        await running.close()


def session(text: str) -> aiohttp.ClientSession:
    """Return a client that opens a connection for each request, so that all workers get some."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    headers = {"Authorization": f"Bearer {text}"}
    return aiohttp.ClientSession(connector=connector, headers=headers)


async def statuses(url: str, text: str, count: int) -> Counter[int]:
    """Send requests at once, and return how many got each status."""
    body = {"messages": [{"role": "user", "content": "[[say]]"}]}

    async def ask(http: aiohttp.ClientSession) -> int:
        async with http.post(url + CHAT, json=body) as response:
            await response.read()
            return response.status

    async with session(text) as http:
        return Counter(await asyncio.gather(*(ask(http) for _ in range(count))))


def workers() -> set[int]:
    """Return the processes of the workers."""
    found = set()
    for pid in children(os.getpid()):
        with suppress(OSError):  # it has just ended
            if b"gateway.workers.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(pid)
    return found


def blocked(record: KeyRecord) -> KeyRecord:
    return msgspec.structs.replace(record, blocked_at=1, blocked_reason="left the team")


async def test_a_revoke_under_two_hundred_open_requests_holds_in_every_worker(
    master: tuple[Master, str],
) -> None:
    service, url = master
    publish = service._state.keys.publish
    (alice, text), (bob, other) = key("alice"), key("bob")
    assert await publish(table(alice, bob)) == (WORKERS, WORKERS)
    body: dict[str, Any] = {
        "messages": [{"role": "user", "content": "[[endless]]"}],
        "stream": True,
    }
    begun = gone_on = 0
    leave = asyncio.Event()

    async def stream(http: aiohttp.ClientSession) -> None:
        nonlocal begun, gone_on
        async with http.post(url + CHAT, json=body) as response:
            assert response.status == 200
            await response.content.readuntil(b"w0 ")
            begun += 1
            await leave.wait()
            await response.content.readuntil(b"w9 ")
            gone_on += 1

    async with session(text) as http:
        streams = [asyncio.create_task(stream(http)) for _ in range(IN_FLIGHT)]
        await eventually(lambda: begun == IN_FLIGHT)
        assert await publish(table(blocked(alice), bob, version=2)) == (
            WORKERS,
            WORKERS,
        )
        assert await statuses(url, text, 60) == {403: 60}
        assert await statuses(url, other, 20) == {200: 20}
        assert await publish(table(bob, version=3)) == (WORKERS, WORKERS)
        assert (await statuses(url, text, 1)).keys() <= {401}
        leave.set()
        await asyncio.gather(*streams)
    assert gone_on == IN_FLIGHT
    assert await statuses(url, other, 20) == {200: 20}


async def test_a_worker_that_takes_the_place_of_another_knows_the_keys_of_now(
    master: tuple[Master, str],
) -> None:
    service, url = master
    publish = service._state.keys.publish
    (alice, text), (bob, other) = key("alice"), key("bob")
    await publish(table(alice, bob))
    await publish(table(blocked(alice), bob, version=2))
    former = workers()
    for pid in former:
        os.kill(pid, signal.SIGKILL)
    await eventually(lambda: service.workers == (WORKERS, WORKERS) and former.isdisjoint(workers()))
    assert await statuses(url, text, 30) == {403: 30}
    assert await statuses(url, other, 30) == {200: 30}


async def test_a_reload_keeps_the_keys_and_their_changes_go_on_to_hold(
    master: tuple[Master, str],
) -> None:
    service, url = master
    publish = service._state.keys.publish
    alice, text = key("alice")
    await publish(table(alice))
    config = service._config
    changed = replace(config, server=replace(config.server, time_zone="Asia/Shanghai"))
    source = ConfigSource(lambda: changed, lambda _: None, lambda: None, lambda _: None)
    await service.reload(source)
    assert await statuses(url, text, 30) == {200: 30}
    assert await publish(table(blocked(alice), version=2)) == (WORKERS, WORKERS)
    assert await statuses(url, text, 30) == {403: 30}
