"""Runs `make soak`: many streams and short requests for a long time; memory must not grow.

Prints one table with a line for each part of the time; exit status 1 when memory has grown or the
records do not agree.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from chaos.environment import ChaosEnvironment, open_environment
from chaos.fault_schedule import mixed
from chaos.load import ChatOutcome, Client
from chaos.plan import PlannedRequest, Planner
from chaos.processes import ChaosGateway, ProcessFailed
from chaos.result import ChaosResult, compared, count_faults, exits, of_records

_SHORT = {"whole": 6, "completion": 3, "tools": 2, "leave": 2, "stop": 1}
_FAULTS = 0.02
_LONGEST = 20.0  # seconds that a stream takes
_ENOUGH = 0.8  # of the streams, or the load was not what it says
_LOOK = 1.0  # seconds between two looks at the memory


async def soak(
    seconds: float,
    *,
    streams: int,
    rate: float,
    seed: int,
    folder: Path,
    settled: float,
    growth: float,
) -> ChaosResult:
    """Run the soak once.

    settled: the moment, in seconds, whose memory is compared with that at the end.
    growth: the largest allowed ratio of the two.

    Raises chaos.processes.ProcessFailed when the run cannot be made.
    """
    async with open_environment(folder) as environment:
        before = await environment.measure()
        memory = asyncio.create_task(_watch(environment.gateway, seconds))
        await _load(environment, seconds, streams, rate, seed)
        samples = await memory
        after = await environment.measure()
        records, _ = await environment.collect_records()

        result = of_records(records)
        result += count_faults(environment.proxy.fault_counts, ())
        result += _carried(environment.outcomes, seconds, streams)
        result += exits(environment.gateway)
        result += _memory(samples, settled, seconds, growth)
        result += compared(before, after, memory=False)
        return result


async def _load(
    environment: ChaosEnvironment, seconds: float, streams: int, rate: float, seed: int
) -> None:
    longest = min(_LONGEST, seconds / 5)
    long = Planner(seed, name="long", trouble=mixed(_FAULTS), longest=longest)
    brief = Planner(seed, name="short", trouble=mixed(_FAULTS), longest=1.0)

    def stream() -> PlannedRequest:
        return long.request("stream")

    async with (
        Client(environment.gateway.port, environment.outcomes) as client,
        asyncio.TaskGroup() as group,
    ):
        until = time.monotonic() + seconds
        group.create_task(client.send_all(brief.at_rate(rate, seconds, _SHORT)))
        for _ in range(streams):
            group.create_task(client.keep_streaming(stream, until))
            await asyncio.sleep(min(0.02, seconds / streams / 4))


def _carried(outcomes: Sequence[ChatOutcome], seconds: float, streams: int) -> ChaosResult:
    """Whether the load was what was asked for: streams that were open, on the average."""
    open_for = sum(o.ended - o.began for o in outcomes if o.request.tag.startswith("long-"))
    mean = open_for / seconds
    result = ChaosResult()
    faults = [] if mean >= streams * _ENOUGH else [f"only {mean:.0f} streams were open"]
    result.add("open streams", f"{mean:.0f}", f"{streams} wanted, on the average", faults)
    return result


async def _watch(gateway: ChaosGateway, seconds: float) -> list[tuple[float, int]]:
    """The memory at many moments, while the load is there."""
    begin = time.monotonic()
    samples = []
    while (now := time.monotonic() - begin) < seconds:
        gateway.check()
        samples.append((now, gateway.memory()))
        await asyncio.sleep(_LOOK)
    return samples


def _memory(
    samples: list[tuple[float, int]], settled: float, seconds: float, growth: float
) -> ChaosResult:
    """That at the end against that at the settled moment."""
    part = seconds / 10

    def at(moment: float) -> float:
        """The median round a moment, in MB."""
        return statistics.median(m for t, m in samples if abs(t - moment) <= part / 2 + _LOOK) / 1e6

    first, last = at(settled), at(samples[-1][0] - part / 2)
    course = ", ".join(f"{at(part * (index + 0.5)):.1f}" for index in range(10))
    finding = f"{first:.1f} MB after {settled:.0f} s, {last:.1f} MB at the end"
    result = ChaosResult()
    faults = [] if last <= first * growth else [f"memory: {finding}"]
    result.add("memory, MB", f"{last:.1f}", f"{first:.1f} after {settled:.0f} s", faults)
    result.add("  in tenths", "", course)
    return result


def main() -> int:
    """Run and print; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m chaos.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--streams", type=int, default=150, help="open at any time (150)")
    parser.add_argument("--rate", type=float, default=20.0, help="short requests a second (20)")
    parser.add_argument("--seed", type=int, default=1, help="the same requests and faults again")
    parser.add_argument(
        "--growth", type=float, default=1.05, help="what memory may become of that at minute 5"
    )
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
                    growth=given.growth,
                )
            )
    except ProcessFailed as failed:
        print(f"soak: {failed}", file=sys.stderr)
        return 1
    return result.report()


if __name__ == "__main__":
    sys.exit(main())
