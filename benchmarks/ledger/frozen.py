"""Measures how late the gateway answers while another program holds a lock on its database.

Small requests are sent at a fixed rate, first with the database free, then with it locked. What
counts is how long the answers take, and a probe of /health beside them: it waits for the event
loop alone. At the end the lock is released, and each request has to be a row.

Then a second gateway starts with old rows in its database, and deletes them meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from benchmarks.ledger.rows import fill
from benchmarks.loads import CLOSED
from benchmarks.processes import BenchProcessFailed
from benchmarks.targets import BenchTarget, bench_key, laboratory

_PROBE_EVERY = 0.02  # seconds
_LONGEST_WAIT = 60.0  # seconds, for the rows
_OLD_ROWS = 100_000
_TOO_OLD_MS = 91 * 86_400_000
_DELETING = 20.0  # seconds; so long the writer deletes at most, and a few more


@dataclass
class FrozenTimes:
    """Holds what was measured in one phase: seconds of each answer, and of each probe."""

    name: str
    answers: list[float] = field(default_factory=list)
    probes: list[float] = field(default_factory=list)
    memory: float = 0.0  # of the gateway, in MB

    def __str__(self) -> str:
        answers, probes = (_shown(times) for times in (self.answers, self.probes))
        return (
            f"{self.name:10}{len(self.answers):7} requests  {answers}   /health {probes}"
            f"   {self.memory:.1f} MB"
        )


async def measure(target: BenchTarget, database: Path, rate: float, seconds: float) -> int:
    """Measure both phases, and print them; return the exit status."""
    async with _client() as http:
        first = await _phase("warm-up", http, target, rate, min(seconds, 5.0))
        free = await _phase("free", http, target, rate, seconds)
        with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            before = _rows(database)
            locked = await _phase("locked", http, target, rate, seconds)
            arrived = _rows(database) - before
            other.execute("ROLLBACK")
        for phase in (free, locked):
            print(phase)
        total = sum(len(phase.answers) for phase in (first, free, locked))
        released, found = time.monotonic(), _rows(database)
        while found < total and time.monotonic() - released < _LONGEST_WAIT:
            await asyncio.sleep(0.1)
            found = _rows(database)
    waited = time.monotonic() - released
    print(f"{arrived} rows came while it was locked; all {found} within {waited:.1f} s afterwards")
    return 0 if found == total else 1


async def measure_deletion(target: BenchTarget, database: Path, rate: float) -> int:
    """Measure while the gateway, which has just started, deletes old rows; return the status."""
    async with _client() as http:
        before = _rows(database)
        deleting = await _phase("deleting", http, target, rate, _DELETING)
        print(deleting)
        await asyncio.sleep(1.0)  # until the last rows are there
        deleted = before + len(deleting.answers) - _rows(database)
    print(f"{deleted} of {before} old rows were deleted meanwhile")
    return 0 if deleted > 0 else 1


async def _phase(
    name: str, http: aiohttp.ClientSession, target: BenchTarget, rate: float, seconds: float
) -> FrozenTimes:
    times = FrozenTimes(name)
    over = asyncio.Event()
    url = f"http://127.0.0.1:{target.port}"
    async with asyncio.TaskGroup() as group:
        group.create_task(_probe(http, url, times, over))
        begin = time.monotonic()
        async with asyncio.TaskGroup() as requests:
            for number in range(int(rate * seconds)):
                await asyncio.sleep(max(0.0, begin + number / rate - time.monotonic()))
                requests.create_task(_ask(http, url, number, target.keys, times))
        over.set()
    times.memory = target.process.memory() / 1e6
    return times


async def _ask(
    http: aiohttp.ClientSession, url: str, number: int, keys: int, times: FrozenTimes
) -> None:
    headers = {
        "Authorization": f"Bearer {bench_key(1 + number % keys)}",
        "Content-Type": "application/json",
    }
    began = time.monotonic()
    async with http.post(
        f"{url}/v1/chat/completions", data=CLOSED[0].body, headers=headers
    ) as response:
        text = await response.read()
    if response.status != 200 or not text.endswith(b"data: [DONE]\n\n"):
        raise BenchProcessFailed(f"status {response.status}: {text[-200:]!r}")
    times.answers.append(time.monotonic() - began)


async def _probe(
    http: aiohttp.ClientSession, url: str, times: FrozenTimes, over: asyncio.Event
) -> None:
    while not over.is_set():
        began = time.monotonic()
        async with http.get(f"{url}/health") as response:
            await response.read()
        times.probes.append(time.monotonic() - began)
        await asyncio.sleep(_PROBE_EVERY)


@contextlib.asynccontextmanager
async def _client() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:
        yield http


def _rows(database: Path) -> int:
    uri = f"file:{database}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM request").fetchone()[0])


def _shown(times: list[float]) -> str:
    found = sorted(times)
    half, most = found[len(found) // 2], found[len(found) * 99 // 100]
    return f"p50 {half * 1000:5.1f} ms, p99 {most * 1000:6.1f}, max {found[-1] * 1000:6.1f}"


def main() -> int:
    """Run and print; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="of each phase (5)")
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second (50)")
    arguments = parser.parse_args()
    try:
        with laboratory() as lab:
            target = lab.gateway(settings={"store": {"url": "sqlite:///frozen.db"}})
            database = lab.folder / "frozen.db"
            status = asyncio.run(measure(target, database, arguments.rate, arguments.minutes * 60))
            old = lab.folder / "old.db"
            fill(old, _OLD_ROWS, keys=60, until=time.time_ns() // 1_000_000 - _TOO_OLD_MS)
            target = lab.gateway(settings={"store": {"url": "sqlite:///old.db"}})
            return status or asyncio.run(measure_deletion(target, old, arguments.rate))
    except BenchProcessFailed as failed:
        print(failed, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
