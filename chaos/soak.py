"""`python -m chaos.soak`: many streams and short requests for a long time; memory must stay.

Prints one table with a line for each part of the time; exit status 1 when memory has grown or
the books do not agree.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from chaos.books import Books
from chaos.load import Client, Outcome
from chaos.plan import Planner, Request
from chaos.processes import Emulator, Failed, Gateway, Measures, log_lines
from chaos.proxy import Proxy
from chaos.result import Result, compared, of_books
from chaos.table import Row

_SHORT = {"whole": 6, "completion": 3, "tools": 2, "leave": 2, "stop": 1}
_FAULTS = 0.02
_LONGEST = 20.0  # seconds that a stream takes
_LOOK = 1.0  # seconds between two looks at the memory


async def soak(
    seconds: float,
    *,
    streams: int,
    rate: float,
    seed: int,
    folder: Path,
    settled: float,
    growth: float = 1.05,
) -> Result:
    """One run.

    settled: the moment, in seconds, whose memory is the measure of that at the end. growth:
    what the latter may be of the former.

    Raises chaos.processes.Failed when it cannot be made.
    """
    async with (
        Emulator(folder) as emulator,
        Proxy(emulator.port) as proxy,
        Gateway(folder, proxy.port) as gateway,
    ):
        before = await gateway.measure()
        memory = asyncio.create_task(_watch(gateway, seconds))
        outcomes = await _load(gateway, seconds, streams, rate, seed)
        samples = await memory
        await asyncio.sleep(0.5)
        proxy.drop_all()
        after = await gateway.measure()
        await gateway.stop()
        await asyncio.sleep(0.5)
        books = Books(outcomes, log_lines(gateway.logs), await emulator.calls(), proxy.fired, [])
        result = of_books(books, proxy, gateway)
        return _with_memory(result, samples, settled, seconds, growth, before, after)


async def _load(
    gateway: Gateway, seconds: float, streams: int, rate: float, seed: int
) -> list[Outcome]:
    long = Planner(seed, name="long", faults=_FAULTS, longest=_LONGEST)
    short = Planner(seed, name="short", faults=_FAULTS, longest=1.0)

    def stream() -> Request:
        return long.request("stream")

    async with Client(gateway.port) as client, asyncio.TaskGroup() as group:
        until = time.monotonic() + seconds
        group.create_task(client.send_all(short.at_rate(rate, seconds, _SHORT)))
        for _ in range(streams):
            group.create_task(client.keep_streaming(stream, until))
            await asyncio.sleep(min(0.02, seconds / streams / 4))
    return client.outcomes


async def _watch(gateway: Gateway, seconds: float) -> list[tuple[float, int]]:
    """The memory at many moments, while the load is there."""
    begin = time.monotonic()
    samples = []
    while (now := time.monotonic() - begin) < seconds:
        gateway.check()
        samples.append((now, gateway.memory()))
        await asyncio.sleep(_LOOK)
    return samples


def _with_memory(
    result: Result,
    samples: list[tuple[float, int]],
    settled: float,
    seconds: float,
    growth: float,
    before: Measures,
    after: Measures,
) -> Result:
    part = seconds / 10
    rows, faults = list(result.rows), list(result.faults)

    def at(moment: float) -> float:
        """The median round a moment, in MB."""
        return statistics.median(m for t, m in samples if abs(t - moment) <= part / 2 + _LOOK) / 1e6

    first, last = at(settled), at(samples[-1][0] - part / 2)
    course = ", ".join(f"{at(part * (index + 0.5)):.1f}" for index in range(10))
    good = last <= first * growth
    rows.append(Row("memory, MB", f"{last:.1f}", f"{first:.1f} after {settled:.0f} s", good))
    rows.append(Row("  in tenths", "", course, True))
    if not good:
        faults.append(f"memory: {first:.1f} MB after {settled:.0f} s, {last:.1f} MB at the end")
    for row, fault in compared(before, after, memory=False):
        rows.append(row)
        faults += [fault] if fault else []
    return Result(rows, faults)


def main() -> int:
    """Run and print; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m chaos.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--streams", type=int, default=150, help="open at any time (150)")
    parser.add_argument("--rate", type=float, default=20.0, help="short requests a second (20)")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    seconds = given.minutes * 60
    try:
        with tempfile.TemporaryDirectory() as folder:
            result = asyncio.run(
                soak(
                    seconds,
                    streams=given.streams,
                    rate=given.rate,
                    seed=given.seed,
                    folder=Path(folder),
                    settled=min(300.0, seconds / 2),
                )
            )
    except Failed as failed:
        print(f"soak: {failed}", file=sys.stderr)
        return 1
    return result.report()


if __name__ == "__main__":
    sys.exit(main())
