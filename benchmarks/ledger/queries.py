"""Measures how long the ledger's queries take over many rows: `make bench-ledger`."""

from __future__ import annotations

import argparse
import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.ledger.rows import fill
from gateway.ledger import queries, seeds, verify
from gateway.ledger.queries import LedgerFilter
from gateway.ledger.service import local_day

_DAY_MS = 86_400_000


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
        fill(path, arguments.rows, keys=arguments.keys, until=now)
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
