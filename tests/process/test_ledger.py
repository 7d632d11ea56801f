"""The ledger of a whole gateway: one row for each admitted request, whatever ends it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
import pytest

from gateway import cli
from tests.integration.conftest import Connect
from tests.integration.peer import Peer, chat_request
from tests.process.conftest import Configure
from tests.process.systemd import FakeSystemd, GatewayService, children
from tests.support import KEY
from tests.waiting import NEVER, eventually

LIMITS = {"tokens_per_day": 10_000_000, "requests_per_day": 100_000, "tokens_per_5h": 10_000_000}
KEYS = {"api_key": {"keys": [{"name": "alice", "key": KEY, "team": "web", **LIMITS}]}}
SERVICE = {
    "middlewares": ["request_id", KEYS],
    "teams": [{"name": "web", "tokens_per_month": 10_000_000}],
}
DEGRADED = {"status": "ready", "degraded": ["ledger"]}
SAY = "[[say text=one%20two]]"


class GatewayBooks:
    """Reads the ledger of the gateway whose folder this is."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "team.db"
        self._config = str(folder / "config.yaml")

    def ask(self, text: str) -> list[Any]:
        with contextlib.closing(sqlite3.connect(f"file:{self.file}?mode=ro", uri=True)) as database:
            return database.execute(text).fetchall()

    def ends(self) -> Counter[str]:
        """Return how many rows ended in which way."""
        return Counter(end for (end,) in self.ask("SELECT ended FROM request"))

    async def has(self, count: int) -> None:
        """Wait for so many rows."""
        await eventually(lambda: self.ends().total() >= count)
        assert self.ends().total() == count

    async def open(self, count: int) -> None:
        """Wait until so many requests are open."""
        await eventually(lambda: self.ask("SELECT count(*) FROM began") == [(count,)])

    def command(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
        """Return what a command prints as JSON; its exit status must be 0."""
        capsys.readouterr()
        assert cli.main([*arguments, "--config", self._config, "--json"]) == 0
        return json.loads(capsys.readouterr().out)


@pytest.fixture
def books(tmp_path: Path) -> GatewayBooks:
    return GatewayBooks(tmp_path)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that opens a connection for each request, so that all workers get some."""
    connector = aiohttp.TCPConnector(limit=20, force_close=True)
    headers = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        yield session


async def ask(
    http: aiohttp.ClientSession, url: str, text: str = SAY, request_id: str = "mine"
) -> int:
    body = {"messages": [{"role": "user", "content": text}]}
    headers = {"x-request-id": request_id}
    async with http.post(f"{url}/v1/chat/completions", json=body, headers=headers) as response:
        await response.read()
        return response.status


async def used(http: aiohttp.ClientSession, url: str) -> dict[str, int]:
    """Return what is used of each budget, by scope and limit."""
    async with http.get(f"{url}/v1/usage") as response:
        limits = (await response.json())["limits"]
    return {f"{limit['scope']} {limit['limit']}": limit["used"] for limit in limits}


async def ready(http: aiohttp.ClientSession, url: str) -> Any:
    async with http.get(f"{url}/ready") as response:
        assert response.status == 200
        return await response.json()


async def all_say(http: aiohttp.ClientSession, url: str, said: dict[str, Any]) -> None:
    """Wait until ten answers of `/ready` in a row are these: those of all processes."""
    in_a_row = 0
    while in_a_row < 10:
        in_a_row = in_a_row + 1 if await ready(http, url) == said else 0
        await asyncio.sleep(0.01)


async def stream(connect: Connect, url: str, text: str) -> Peer:
    peer = await connect(url)
    await peer.send(chat_request(text, stream=True))
    return peer


async def stopped(service: GatewayService) -> None:
    service.signal(signal.SIGTERM)
    assert await service.exit_status() == 0


async def test_a_request_is_one_row_in_whatever_phase_it_ends(
    fake_systemd: FakeSystemd,
    configure: Configure,
    connect: Connect,
    http: aiohttp.ClientSession,
    books: GatewayBooks,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Clients leave, workers are killed, settings are reloaded: the budgets outlast all of it."""
    pool = {"pool": {"max_concurrent": 1, "queue_wait": NEVER}}
    configure(server={"workers": 2, "drain_timeout": 0.2}, fitten=pool, **SERVICE)
    service = await fake_systemd.start()
    url = fake_systemd.url
    for _ in range(4):
        assert await ask(http, url) == 200
    assert await ask(http, url, "[[status code=500]]") == 502
    await books.has(5)

    streaming = await stream(connect, url, "[[endless]]")
    await streaming.until(b"w0 ")
    queued = await stream(connect, url, SAY)
    await books.open(2)
    queued.reset()
    await books.has(6)
    streaming.reset()
    await books.has(7)
    silent = await stream(connect, url, "[[silent]]")
    await books.open(1)
    silent.reset()
    await books.has(8)
    assert books.ends() == {"complete": 4, "upstream_error": 1, "client_closed_request": 3}

    over_reload = await stream(connect, url, "[[endless]]")
    await over_reload.until(b"w0 ")
    moved = {"store": {"url": "sqlite:///other.db"}}
    configure(server={"workers": 2, "drain_timeout": 0.2}, fitten=pool, **SERVICE, **moved)
    await fake_systemd.reload(service)
    assert (await service.event("restart_needed"))["options"] == ["store.url"]
    await books.open(1)
    killed = children(service.pid)
    for worker in killed:
        os.kill(worker, signal.SIGKILL)
    await books.has(9)
    assert books.ends()["crashed"] == 1
    await eventually(lambda: not {*killed} & {*children(service.pid)})
    # What replaces them has the new settings, but writes where the writer reads.
    await eventually(lambda: fake_systemd.datagrams[-1].endswith("2 of 2 workers"))
    for _ in range(4):
        assert await ask(http, url) == 200
    await books.has(13)
    assert not books.file.with_name("other.db").exists()

    before = await used(http, url)
    assert before["key alice requests_per_day"] == 13
    sums = books.ask("SELECT sum(prompt_tokens + completion_tokens) FROM request")
    assert [(before["key alice tokens_per_day"],)] == sums
    assert before["key alice tokens_per_5h"] == before["team web tokens_per_month"] > 0
    last = await stream(connect, url, "[[endless]]")
    await last.until(b"w0 ")
    await books.open(1)
    configure(server={"workers": 2, "drain_timeout": 0.2}, fitten=pool, **SERVICE)
    await fake_systemd.reload(service)
    await stopped(service)
    assert books.ends().total() == 14
    assert books.ends()["draining"] == 1

    service = await fake_systemd.start()
    (totals,) = books.command(capsys, "usage", "--by", "key", "--since", "1d")["rows"]
    after = await used(http, url)
    assert (totals["requests"], totals["aborted"]) == (14, 3)
    assert after["key alice requests_per_day"] == 14
    tokens = {value for name, value in after.items() if "tokens" in name}
    assert tokens == {totals["total_tokens"]}
    assert totals["total_tokens"] >= before["key alice tokens_per_day"]
    rows = books.command(capsys, "requests", "--key", "alice", "--since", "1h")["rows"]
    assert Counter(row["request_id"] for row in rows)["mine"] == 9
    assert {row["team"] for row in rows} == {"web"}
    assert books.command(capsys, "db", "verify")["ok"] is True
    await stopped(service)


@pytest.mark.parametrize("workers", [1, 2])
async def test_after_a_kill_the_ledger_has_what_was_sent_and_the_counters_begin_with_it(
    fake_systemd: FakeSystemd,
    configure: Configure,
    connect: Connect,
    http: aiohttp.ClientSession,
    books: GatewayBooks,
    capsys: pytest.CaptureFixture[str],
    workers: int,
) -> None:
    configure(server={"workers": workers, "drain_timeout": 0.2}, **SERVICE)
    service = await fake_systemd.start()
    url = fake_systemd.url
    statuses = await asyncio.gather(*(ask(http, url) for _ in range(60)))
    assert statuses == [200] * 60
    peer = await stream(connect, url, "[[endless]]")
    await peer.until(b"w0 ")
    await service.end()  # the master, and its workers
    service = await fake_systemd.start()
    await books.has(61)
    assert books.ends() == {"complete": 60, "crashed": 1}
    (totals,) = books.command(capsys, "usage", "--by", "key")["rows"]
    now = await used(http, url)
    assert now["key alice requests_per_day"] == totals["requests"] == 61
    assert now["key alice tokens_per_day"] == totals["total_tokens"] > 60
    assert books.command(capsys, "db", "verify")["ok"] is True


async def test_while_the_database_is_locked_nobody_waits_and_the_rows_come_later(
    fake_systemd: FakeSystemd,
    configure: Configure,
    http: aiohttp.ClientSession,
    books: GatewayBooks,
) -> None:
    """Also a gateway that starts meanwhile serves, and knows what was used."""
    configure(**SERVICE)
    service = await fake_systemd.start()
    url = fake_systemd.url
    assert await ask(http, url) == 200
    await books.has(1)
    with contextlib.closing(sqlite3.connect(books.file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        statuses = await asyncio.gather(*(ask(http, url) for _ in range(40)))
        assert statuses == [200] * 40
        before = await used(http, url)
        assert before["key alice requests_per_day"] == 41
        assert books.ends().total() == 1
        await service.end()
        service = await fake_systemd.start()
        assert (await service.event("ledger_not_written"))["reason"] == "SQLITE_BUSY"
        assert (await used(http, url))["key alice requests_per_day"] == 1
        assert await ask(http, url) == 200
        other.execute("ROLLBACK")
    await service.event("ledger_written")
    await books.has(42)
    await stopped(service)


def newer(file: Path) -> None:
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as database:
        database.execute("CREATE TABLE schema_version (step bigint, at bigint)")
        database.execute("INSERT INTO schema_version VALUES (1000, 0)")


@pytest.mark.parametrize(
    ("make", "said", "workers"),
    [
        (newer, "has schema 1000, and this version knows", 2),
        (newer, "has schema 1000, and this version knows", 1),
        (Path.mkdir, "cannot be used: Is a directory", 1),
        (lambda file: file.write_text("A letter. " * 1000), "cannot be used: SQLITE_NOTADB", 1),
    ],
)
async def test_a_store_that_cannot_be_used_ends_the_start(
    fake_systemd: FakeSystemd,
    configure: Configure,
    tmp_path: Path,
    make: Any,
    said: str,
    workers: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make(tmp_path / "named.db")
    configure(server={"workers": workers}, store={"url": "sqlite:///named.db"})
    service = await fake_systemd.start(wait=False)
    assert await service.exit_status() == 2
    assert f"store.url: {tmp_path}/named.db {said}" in service.raw
    before = sorted(os.listdir(tmp_path))
    assert cli.main(["check", "--config", str(tmp_path / "config.yaml")]) == 2
    assert f"store.url: {tmp_path}/named.db {said}" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("workers", [1, 2])
async def test_without_the_store_beside_the_state_file_the_gateway_serves(
    fake_systemd: FakeSystemd,
    configure: Configure,
    http: aiohttp.ClientSession,
    books: GatewayBooks,
    workers: int,
) -> None:
    books.file.mkdir()
    configure(server={"workers": workers}, **SERVICE)
    service = await fake_systemd.start()
    assert (await service.event("ledger_not_written"))["reason"] == "Is a directory"
    assert await ask(http, fake_systemd.url) == 200
    assert (await used(http, fake_systemd.url))["key alice requests_per_day"] == 1
    await all_say(http, fake_systemd.url, DEGRADED)
    books.file.rmdir()
    await service.event("ledger_written")  # the writer has tried again
    await books.has(1)
    await all_say(http, fake_systemd.url, {"status": "ready"})
    await stopped(service)


@pytest.mark.parametrize("workers", [1, 2])
async def test_another_time_zone_counts_from_the_next_request_on_and_history_stays(
    fake_systemd: FakeSystemd,
    configure: Configure,
    connect: Connect,
    http: aiohttp.ClientSession,
    books: GatewayBooks,
    capsys: pytest.CaptureFixture[str],
    workers: int,
) -> None:
    """A request that is open meanwhile belongs to the day on which it began."""
    alice = {"name": "alice", "key": KEY, "requests_per_day": 2}

    def in_zone(name: str) -> None:
        server = {"workers": workers, "time_zone": name}
        configure(server=server, middlewares=[{"api_key": {"keys": [alice]}}])

    days = []
    in_zone("Pacific/Kiritimati")
    service = await fake_systemd.start()
    peer = await stream(connect, fake_systemd.url, "[[endless]]")
    await peer.until(b"w0 ")
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):  # never on the same day
        in_zone(zone)
        await fake_systemd.reload(service)
        days.append(datetime.now(ZoneInfo(zone)).date().isoformat())
        allowed = 1 if zone == "Pacific/Kiritimati" else 2
        found = [await ask(http, fake_systemd.url) for _ in range(3)]
        assert found == [200] * allowed + [429] * (3 - allowed)
    in_zone("Pacific/Kiritimati")
    await fake_systemd.reload(service)
    assert await ask(http, fake_systemd.url) == 429  # what was used on that day is not forgotten
    peer.reset()
    await books.has(8)
    rows = books.ask("SELECT day, refused, count(*) FROM request GROUP BY day, refused")
    assert sorted(rows) == sorted(
        [(days[0], 0, 2), (days[0], 1, 3), (days[1], 0, 2), (days[1], 1, 1)]
    )
    assert books.ask("SELECT day FROM request WHERE ended = 'client_closed_request'") == [
        (days[0],)
    ]
    assert books.command(capsys, "db", "verify")["ok"] is True
    await stopped(service)


async def test_a_worker_that_is_killed_with_fifty_open_requests_keeps_no_place(
    fake_systemd: FakeSystemd,
    configure: Configure,
    connect: Connect,
    http: aiohttp.ClientSession,
    books: GatewayBooks,
) -> None:
    """Those of the other worker stay open, over a reload; who waits in line gets the places."""
    alice = {"name": "alice", "key": KEY, "concurrency": 50, "tokens_per_day": "1m"}
    configure(
        server={"workers": 2},
        limits={"queue_wait": 600},
        fitten={"pool": {"max_concurrent": 100}},
        middlewares=[{"api_key": {"keys": [alice]}}],
    )
    service = await fake_systemd.start()
    url = fake_systemd.url
    peers = [await stream(connect, url, "[[endless]]") for _ in range(50)]
    for peer in peers:
        await peer.until(b"w0 ")
    await books.open(50)
    await fake_systemd.reload(service)
    assert (await used(http, url))["key alice concurrency"] == 50
    waiting = [asyncio.create_task(ask(http, url)) for _ in range(3)]
    counts = Counter(name for (name,) in books.ask("SELECT process FROM began"))
    killed, _ = counts.most_common(1)[0]
    os.kill(int(killed.split("-")[2]), signal.SIGKILL)
    await eventually(lambda: books.ends()["crashed"] == counts[killed])
    ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert {end for end in ends if isinstance(end, int)} <= {200}
    assert (await used(http, url))["key alice concurrency"] == 50 - counts[killed]
    tokens = "SELECT min(prompt_tokens), max(completion_tokens) FROM request"
    ((prompt, answer),) = books.ask(f"{tokens} WHERE ended = 'crashed'")
    assert prompt > 0 == answer
    for peer in peers:
        peer.reset()
    await eventually(lambda: books.ask("SELECT count(*) FROM began") == [(0,)])
    assert (await used(http, url))["key alice concurrency"] == 0
    await stopped(service)


async def test_every_worker_says_that_one_of_them_loses_rows(
    fake_systemd: FakeSystemd,
    configure: Configure,
    http: aiohttp.ClientSession,
    books: GatewayBooks,
) -> None:
    """Until its disk takes lines again, although no request comes meanwhile."""
    configure(server={"workers": 2}, **SERVICE)
    service = await fake_systemd.start()
    assert await ask(http, fake_systemd.url) == 200
    await books.has(1)
    worker = children(service.pid)[0]
    smallest = (0, resource.RLIM_INFINITY)  # no file may grow, as on a full disk
    resource.prlimit(worker, resource.RLIMIT_FSIZE, smallest)
    while not any(line["event"] == "ledger_rows_lost" for line in service.lines):
        assert await ask(http, fake_systemd.url) == 200
    await all_say(http, fake_systemd.url, DEGRADED)
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    await all_say(http, fake_systemd.url, {"status": "ready"})
    await eventually(lambda: books.ask("SELECT sum(count) FROM lost")[0][0])
    await stopped(service)


async def test_without_a_store_there_is_no_file_and_limits_hold(
    fake_systemd: FakeSystemd,
    configure: Configure,
    http: aiohttp.ClientSession,
    tmp_path: Path,
) -> None:
    one = {"api_key": {"keys": [{"name": "alice", "key": KEY, "requests_per_day": 1}]}}
    configure(store={"url": "none"}, middlewares=[one])
    service = await fake_systemd.start()
    assert [await ask(http, fake_systemd.url) for _ in range(2)] == [200, 429]
    await stopped(service)
    assert [name for name in os.listdir(tmp_path) if "team" in name] == []
