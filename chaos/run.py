"""Runs `make chaos`: faults, reloads, restarts and kills under load; then the reconciliation.

Prints one table; exit status 1 when anything does not agree. In the first four fifths of the time
things happen to the gateway (`chaos.faults_run`), in the rest accounts pause (`chaos.pauses_run`).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from chaos.faults_run import events_run
from chaos.pauses_run import pauses
from chaos.processes import ProcessFailed
from chaos.result import ChaosResult

_EVENTS_SHARE = 0.8  # of the time

Part = Coroutine[Any, Any, ChaosResult]


async def chaos(first: Part, second: Part) -> ChaosResult:
    """Run both parts, one after the other, as one result."""
    try:
        result = (await first).named("blows")
        result += (await second).named("pauses")
    finally:
        second.close()
    return result


def long(minutes: float, *, rate: float, every: float, seed: int, folder: Path) -> ChaosResult:
    """Run for this many minutes."""
    seconds = minutes * 60
    events_folder, pauses_folder = _folders(folder)
    return asyncio.run(
        chaos(
            events_run(
                seconds * _EVENTS_SHARE, rate=rate, every=every, seed=seed, folder=events_folder
            ),
            pauses(seconds * (1 - _EVENTS_SHARE), rate=rate, seed=seed, folder=pauses_folder),
        )
    )


def short(*, rate: float, seed: int, folder: Path) -> ChaosResult:
    """Run with twenty seconds of load and every kind of event once."""
    events_folder, pauses_folder = _folders(folder)
    return asyncio.run(
        chaos(
            events_run(
                13.0, rate=rate, every=2.1, seed=seed, folder=events_folder, drain_timeout=2.0
            ),
            pauses(8.0, rate=rate, every=1.6, seed=seed, folder=pauses_folder),
        )
    )


def _folders(folder: Path) -> tuple[Path, Path]:
    parts = folder / "blows", folder / "pauses"
    for part in parts:
        part.mkdir(parents=True, exist_ok=True)
    return parts


def main() -> int:
    """Run and print; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m chaos.run", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--rate", type=float, default=25.0, help="requests a second (25)")
    parser.add_argument("--seed", type=int, default=1, help="the same requests and faults again")
    parser.add_argument("--every", type=float, default=12.0, help="seconds between events (12)")
    parser.add_argument(
        "--short", action="store_true", help="under a minute, every kind of event once"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="for the logs; else they go")
    given = parser.parse_args()

    def run(folder: Path) -> ChaosResult:
        if given.short:
            return short(rate=given.rate, seed=given.seed, folder=folder)
        return long(
            given.minutes, rate=given.rate, every=given.every, seed=given.seed, folder=folder
        )

    try:
        if given.keep:
            result = run(given.keep)
        else:
            with tempfile.TemporaryDirectory() as folder:
                result = run(Path(folder))
    except ProcessFailed as failed:
        print(f"chaos: {failed}", file=sys.stderr)
        return 1
    return result.report()


if __name__ == "__main__":
    sys.exit(main())
