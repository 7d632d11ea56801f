"""Measures how long the ledger's queries take over many rows: `make bench-ledger`."""

from __future__ import annotations

import argparse
import contextlib
import functools
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from gateway.ledger import queries, seeds, verify
from gateway.ledger.batch import BatchWriter
from gateway.ledger.queries import LedgerFilter
from gateway.ledger.row import LedgerRow, SpoolLine, new_row_id
from gateway.ledger.service import local_day
from gateway.store.database import connect_writer
from gateway.store.migrations import migrate

_DAYS = 90
_DAY_MS = 86_400_000
_BATCH = 200


def main() -> None:
    """Fill a database, and print the time of each query."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--keys", type=int, default=60)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "team.db"
        now = time.time_ns() // 1_000_000
        began = time.perf_counter()
        _fill(path, arguments.rows, arguments.keys, now)
        seconds = time.perf_counter() - began
        size = path.stat().st_size / 2**20
        print(f"{arguments.rows} rows: {seconds:.1f} s, {size:.0f} MiB")
        week = LedgerFilter(since_day=local_day(now - 7 * _DAY_MS))
        _measure(path, "usage by key, all", lambda c: queries.usage(c, ("key",)))
        _measure(path, "usage by key, 7 days", lambda c: queries.usage(c, ("key",), week))
        _measure(path, "usage by day and model", lambda c: queries.usage(c, ("day", "model")))
        one = LedgerFilter(key="key-1", since=now - _DAY_MS)
        _measure(path, "the last 100 requests", queries.requests)
        _measure(path, "requests of a key, 1 day", lambda c: queries.requests(c, one))
        start = functools.partial(seeds.read_seeds, now=now, day_of=local_day)
        _measure(path, "seeds of the limits", start)
        _measure(path, "db verify", verify.differing_days)


def _fill(path: Path, rows: int, keys: int, now: int) -> None:
    chance = random.Random(1)
    with contextlib.closing(connect_writer(path)) as connection:
        migrate(connection, path, now=now)
        writer = BatchWriter(connection)
        for first in range(0, rows, _BATCH):
            count = min(_BATCH, rows - first)
            at = now - (rows - first) * _DAYS * _DAY_MS // rows
            lines: list[tuple[str, SpoolLine]] = [
                ("bench", _row(at, chance, keys)) for _ in range(count)
            ]
            writer.write(lines, {}, now=now)


def _row(at: int, chance: random.Random, keys: int) -> LedgerRow:
    key = chance.randrange(keys)
    return LedgerRow(
        id=new_row_id(),
        at=at,
        day=local_day(at),
        request_id=f"req_{new_row_id()[:24]}",
        key=f"key-{key}",
        team=f"team-{key % 5}",
        model=chance.choice(("fitten-code", "deepseek", "qwen", "glm")),
        route=chance.choice(("chat", "completion", "fim", "infill")),
        status=200,
        finish_reason="stop",
        prompt_tokens=chance.randrange(4000),
        completion_tokens=chance.randrange(500),
        usage_source="upstream",
        first_ms=300,
        duration_ms=2000,
        tries=1,
        account="first",
        bytes=2000,
        client="OpenAI/Python",
    )


def _measure(path: Path, what: str, query: Callable[..., object]) -> None:
    """Print the median of five runs, each with a connection of its own."""
    times = []
    for _ in range(5):
        with queries.reading(path, longest=600.0) as connection:
            began = time.perf_counter()
            query(connection)
            times.append(time.perf_counter() - began)
    print(f"{what:28}{sorted(times)[2] * 1000:10.1f} ms")


if __name__ == "__main__":
    main()
