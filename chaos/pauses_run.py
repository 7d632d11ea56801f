"""Runs the second part of `make chaos`: several accounts that fail in storms and come back."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from chaos.environment import ChaosEnvironment, open_environment
from chaos.fault_schedule import storms
from chaos.plan import Planner
from chaos.processes import Measures
from chaos.records.outages import Outages
from chaos.records.reconciliation import Reconciliation
from chaos.result import ChaosResult, compared, count_faults, exits, of_hold, of_records

KINDS = {"stream": 8, "whole": 8, "tools": 3, "completion": 4, "leave": 3, "stop": 1}
_RATIO = 0.2
_POOL = {
    "max_completions": 30,
    "retry_ratio": _RATIO,
    "breaker_failures": 5,
    "breaker_pause": 0.5,
}
_SLOTS = 0.2  # of an account, for each request a second: too few when others pause
_WARM_UP = 1.0  # seconds
_LONGEST = 30.0  # seconds in which every account has to be back, with requests to try it
_LENT = 1.0  # repeats that the budget lends at the start
_SAVED = 10.0  # repeats that can be saved up
_ORDER = 1.5  # repeats by which the records' order may differ from the gateway's


async def pauses(
    seconds: float, *, rate: float, seed: int, folder: Path, every: float = 6.0
) -> ChaosResult:
    """Run the part once. every: seconds from storm to storm.

    Raises chaos.processes.ProcessFailed when the run cannot be made.
    """
    slots = max(1, round(rate * _SLOTS))
    async with open_environment(folder, pool={**_POOL, "max_concurrent": slots}) as environment:
        await environment.send(Planner(seed, name="calm").at_rate(rate, _WARM_UP, KINDS))
        before = await environment.measure()
        planner = Planner(seed, name="storm", trouble=storms(seconds, every), longest=1.5)
        await environment.send(planner.at_rate(rate, seconds, KINDS))
        back = await _all_back(environment, Planner(seed, name="probe"))
        after = await environment.measure()
        records, outages = await environment.collect_records()

        result = of_records(records)
        result += count_faults(environment.proxy.fault_counts, ())
        result += accounts_back(outages, after, back)
        result += waited(records)
        result += within_budget(records)
        result += exits(environment.gateway)
        result += of_hold(environment.longest_hold, records)
        result += compared(before, after, memory=False)
        return result


async def _all_back(environment: ChaosEnvironment, planner: Planner) -> float:
    """Seconds until no account pauses any more; a small request now and then may try them."""
    began = time.monotonic()
    while (waited := time.monotonic() - began) < _LONGEST:
        held = await environment.gateway.held()
        if set(held["accounts"].values()) == {"healthy"}:
            break
        await environment.send([planner.request("whole")])
        await asyncio.sleep(0.1)
    return waited


def accounts_back(outages: Outages, after: Measures, back: float) -> ChaosResult:
    """Check that accounts paused, for failures and for 429, and that all of them are back."""
    result = ChaosResult()
    states = ", ".join(f"{name} {state}" for name, state in sorted(after.accounts.items()))
    lasting = [f"{name} is {state}" for name, state in after.accounts.items() if state != "healthy"]
    lasting += [f"the log has no recovery of {name}" for name in outages.lasting]
    result.add("accounts", str(len(after.accounts)), f"{states} after {back:.1f} s", lasting)
    reasons = ", ".join(f"{count} {code}" for code, count in outages.reasons.most_common())
    limited = outages.reasons["upstream_rate_limited"] + outages.reasons["rate_limit_exceeded"]
    total = outages.reasons.total()
    untried = [] if limited else ["no account paused for a 429"]
    untried += [] if total > limited else ["no account paused for failures"]
    found = f"{reasons}; {outages.recovered} recoveries"
    result.add("pauses", str(total), found, untried)
    return result


def waited(records: Reconciliation) -> ChaosResult:
    """Check that requests had to wait for a slot."""
    result = ChaosResult()
    waits = [
        line["queued_ms"]
        for entry in records.entries.values()
        for line in entry.lines
        if line.get("queued_ms")
    ]
    untried = [] if waits else ["nobody had to wait for a slot"]
    result.add("waits in queue", str(len(waits)), f"up to {max(waits, default=0):.0f} ms", untried)
    return result


def within_budget(records: Reconciliation) -> ChaosResult:
    """Check that repeats, those with renewed tokens aside, are within the retry budget.

    At no time are there more than requests have earned and calm times have saved.
    """
    events = []  # when, and what it adds to the budget
    for entry in records.entries.values():
        events += [(arrival.began, _RATIO) for arrival in entry.arrivals]
        pairs = zip(entry.exchanges, entry.exchanges[1:], strict=False)
        events += [(after.began, -1.0) for before, after in pairs if before.status != 401]
    left, least = _LENT, _LENT
    for _, change in sorted(events):
        left = min(left + change, _SAVED)
        least = min(least, left)
    again = sum(change < 0 for _, change in events)
    result = ChaosResult()
    faults = [] if least > -_ORDER else [f"{again} repeats, {-least:.1f} more than earned"]
    found = f"at least {least:.1f} left of at most {_SAVED:.0f} that may be saved up"
    result.add("repeats", str(again), found, faults)
    return result
