"""The first part of `make chaos`: mixed load under faults, reloads, restarts and kills."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from chaos.fault import FAULTS
from chaos.fault_schedule import mixed
from chaos.plan import Event, Planner, events
from chaos.processes import RestartWindow
from chaos.result import ChaosResult, compared, exits, of_books, struck
from chaos.stage import ChaosStage, stage

KINDS = {"stream": 8, "whole": 6, "tools": 4, "completion": 4, "leave": 4, "stop": 2}
BLOWS = ("restart", "kill", "idle", "reload")
_WARM_UP = 2.0  # seconds
_FAULTS = 0.25


async def blows(
    seconds: float,
    *,
    rate: float,
    seed: int,
    folder: Path,
    every: float = 12.0,
    drain_timeout: float = 4.0,
) -> ChaosResult:
    """One run. folder: for logs and state. every: seconds between two blows at the gateway.

    Raises chaos.processes.Failed when it cannot be made.
    """
    async with stage(folder, drain_timeout=drain_timeout) as play:
        warm = Planner(seed, name="warm")
        await play.send(warm.at_rate(rate, _WARM_UP, KINDS))
        before = await play.measure()

        planner = Planner(seed, name="chaos", trouble=mixed(_FAULTS))
        plan = events(seed, seconds, every, BLOWS)
        async with asyncio.TaskGroup() as group:
            group.create_task(_strike(play, plan))
            group.create_task(play.send(planner.at_rate(rate, seconds, KINDS)))
        after = await play.measure()
        books, _ = await play.close_books()

        result = of_books(books)
        result += struck(play.proxy.strikes, FAULTS)
        happened = ", ".join(f"{event.kind} at {event.at:.0f} s" for event in plan)
        missing = {*BLOWS} - {event.kind for event in plan}
        untried = [f"the time was too short for a {kind}" for kind in sorted(missing)]
        result.add("blows", str(len(plan)), happened, untried)
        result += exits(play.gateway)
        result += compared(before, after, memory=True)
        return result


async def _strike(play: ChaosStage, plan: list[Event]) -> None:
    begin = time.monotonic()
    for event in plan:
        await asyncio.sleep(max(0.0, begin + event.at - time.monotonic()))
        if event.kind == "idle":
            now = time.monotonic()
            play.proxy.drop_idle(hard=True)
            play.windows.append(RestartWindow("idle", now, now))
        elif event.kind == "reload":
            await play.gateway.reload()
        elif event.kind == "restart":
            await play.gateway.restart()
        else:
            await play.gateway.kill()
    play.gateway.check()
