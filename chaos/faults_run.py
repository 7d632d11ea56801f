"""Runs the first part of `make chaos`: mixed load under faults, reloads, restarts and kills."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from chaos.environment import ChaosEnvironment, open_environment
from chaos.fault import FAULTS
from chaos.fault_schedule import mixed
from chaos.plan import Event, Planner, events
from chaos.processes import RestartWindow
from chaos.result import ChaosResult, compared, count_faults, exits, of_hold, of_records

KINDS = {"stream": 24, "whole": 18, "tools": 12, "completion": 12, "leave": 12, "stop": 6} | {
    "markup": 1,
    "schema": 1,
    "values": 1,
}
EVENTS = ("restart", "kill", "idle", "reload")
_WARM_UP = 2.0  # seconds
_FAULTS = 0.25


async def events_run(
    seconds: float,
    *,
    rate: float,
    seed: int,
    folder: Path,
    every: float = 12.0,
    drain_timeout: float = 4.0,
) -> ChaosResult:
    """Run the part once. folder: for logs and state. every: seconds between two events.

    An event is what happens to the gateway: a reload, restart, kill, or reset of idle connections.
    Raises chaos.processes.ProcessFailed when the run cannot be made.
    """
    async with open_environment(folder, drain_timeout=drain_timeout) as environment:
        warm = Planner(seed, name="warm")
        await environment.send(warm.at_rate(rate, _WARM_UP, KINDS))
        before = await environment.measure()

        planner = Planner(seed, name="chaos", trouble=mixed(_FAULTS))
        plan = events(seed, seconds, every, EVENTS)
        async with asyncio.TaskGroup() as group:
            group.create_task(_start_events(environment, plan))
            group.create_task(environment.send(planner.at_rate(rate, seconds, KINDS)))
        after = await environment.measure()
        records, _ = await environment.collect_records()

        result = of_records(records)
        result += count_faults(environment.proxy.fault_counts, FAULTS)
        happened = ", ".join(f"{event.kind} at {event.at:.0f} s" for event in plan)
        missing = {*EVENTS} - {event.kind for event in plan}
        untried = [f"the time was too short for a {kind}" for kind in sorted(missing)]
        result.add("blows", str(len(plan)), happened, untried)
        result += exits(environment.gateway)
        result += of_hold(environment.longest_hold, records)
        result += compared(before, after, memory=True)
        return result


async def _start_events(environment: ChaosEnvironment, plan: list[Event]) -> None:
    begin = time.monotonic()
    for event in plan:
        await asyncio.sleep(max(0.0, begin + event.at - time.monotonic()))
        if event.kind == "idle":
            now = time.monotonic()
            environment.proxy.drop_idle(hard=True)
            environment.windows.append(RestartWindow("idle", now, now))
        elif event.kind == "reload":
            await environment.gateway.reload()
        elif event.kind == "restart":
            await environment.gateway.restart()
        else:
            await environment.gateway.kill()
    environment.gateway.check()
