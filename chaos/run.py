"""`python -m chaos.run`: mixed load under faults, reloads, restarts and kills; then the books.

Prints one table; exit status 1 when anything does not add up.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from chaos.books import Books
from chaos.load import Client, Outcome
from chaos.plan import Event, Planner, events
from chaos.processes import Emulator, Failed, Gateway, Measures, log_lines
from chaos.proxy import Proxy
from chaos.result import Result, compared, of_books
from chaos.table import Row

KINDS = {"stream": 8, "whole": 6, "tools": 4, "completion": 4, "leave": 4, "stop": 2}
_WARM_UP = 3.0  # seconds
_SETTLE = 1.0  # seconds for the last log lines and the emulator's last calls


async def chaos(
    seconds: float, *, rate: float, seed: int, folder: Path, every: float = 12.0, reload: bool
) -> Result:
    """One run. folder: for logs and state. every: seconds between two blows at the gateway.

    Raises chaos.processes.Failed when it cannot be made.
    """
    async with (
        Emulator(folder) as emulator,
        Proxy(emulator.port) as proxy,
        Gateway(folder, proxy.port) as gateway,
    ):
        warm = Planner(seed, name="warm", faults=0.0)
        planner = Planner(seed, name="chaos", faults=0.25)
        outcomes = await _load(gateway, warm, rate, _WARM_UP, [], proxy)
        before = await _measure(gateway, proxy)

        kinds = ("restart", "kill", "idle", *(["reload"] if reload and gateway.reloads else []))
        plan = events(seed, seconds, every, kinds)
        outcomes += await _load(gateway, planner, rate, seconds, plan, proxy)
        after = await _measure(gateway, proxy)
        await gateway.stop()
        await asyncio.sleep(_SETTLE)
        books = Books(
            outcomes, log_lines(gateway.logs), await emulator.calls(), proxy.fired, gateway.windows
        )
        result = of_books(books, proxy, gateway)
        happened = ", ".join(f"{event.kind} at {event.at:.0f} s" for event in plan)
        quiet = compared(before, after, memory=True)
        rows = [Row("blows", str(len(plan)), happened, True), *(row for row, _ in quiet)]
        return Result(
            [*result.rows, *rows], [*result.faults, *(fault for _, fault in quiet if fault)]
        )


async def _load(
    gateway: Gateway,
    planner: Planner,
    rate: float,
    seconds: float,
    plan: list[Event],
    proxy: Proxy,
) -> list[Outcome]:
    async with Client(gateway.port) as client, asyncio.TaskGroup() as group:
        group.create_task(_events(gateway, proxy, plan))
        await client.send_all(planner.at_rate(rate, seconds, KINDS))
    return client.outcomes


async def _events(gateway: Gateway, proxy: Proxy, plan: list[Event]) -> None:
    begin = time.monotonic()
    for event in plan:
        await asyncio.sleep(max(0.0, begin + event.at - time.monotonic()))
        if event.kind == "idle":
            proxy.drop_idle(hard=True)
        elif event.kind == "reload":
            await gateway.reload()
        elif event.kind == "restart":
            await gateway.restart()
        else:
            await gateway.kill()
    gateway.check()


async def _measure(gateway: Gateway, proxy: Proxy) -> Measures:
    """The quiet gateway: without the pooled connections, which are as many as load made them."""
    await asyncio.sleep(0.5)
    proxy.drop_all()
    return await gateway.measure()


def main() -> int:
    """Run and print; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m chaos.run", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--rate", type=float, default=25.0, help="requests a second (25)")
    parser.add_argument("--seed", type=int, default=1, help="the same requests and faults again")
    parser.add_argument("--every", type=float, default=12.0, help="seconds between blows (12)")
    parser.add_argument("--no-reload", action="store_true", help="no SIGHUP, even if it is handled")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="for the logs; else they go")
    given = parser.parse_args()

    def run(folder: Path) -> Result:
        return asyncio.run(
            chaos(
                given.minutes * 60,
                rate=given.rate,
                seed=given.seed,
                every=given.every,
                folder=folder,
                reload=not given.no_reload,
            )
        )

    try:
        if given.keep:
            given.keep.mkdir(parents=True, exist_ok=True)
            result = run(given.keep)
        else:
            with tempfile.TemporaryDirectory() as folder:
                result = run(Path(folder))
    except Failed as failed:
        print(f"chaos: {failed}", file=sys.stderr)
        return 1
    return result.report()


if __name__ == "__main__":
    sys.exit(main())
