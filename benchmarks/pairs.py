"""Measures one pair: the same load on two gateways, together.

A busy machine changes its speed within a second, so whole slices one after the other differ
by a tenth for no reason. Closed loops therefore take turns of 10 ms, and paced streams run at
the same time, half of them on each side.
"""

from __future__ import annotations

import itertools
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from benchmarks import loads, measure
from benchmarks.loads import BenchLoad, PacedLoad
from benchmarks.processes import BenchProcessFailed
from benchmarks.targets import BenchTarget

TURN = 0.01  # seconds
_SECONDS = 2  # of a closed loop, both sides together


def _halved(load: PacedLoad) -> PacedLoad:
    return replace(load, streams=load.streams // 2)


# Those of `bench-quick`.
LOADS: dict[str, BenchLoad | PacedLoad] = {
    load.name: load
    for load in (
        *loads.CLOSED,
        _halved(loads.QUICK_PACED),
        _halved(loads.QUICK_PACED_TLS),
        _halved(loads.QUICK_OPEN),
    )
}


@dataclass(frozen=True, slots=True)
class Pair:
    """Holds the processor time per unit of both sides, in microseconds."""

    a: float
    b: float
    crowd: float = 1.0  # paced pieces in one read

    @property
    def ratio(self) -> float:
        return self.a / self.b


def order(index: int) -> tuple[int, int]:
    """Return which side comes first in a pair: AB, BA, AB, ..."""
    return (1, 0) if index % 2 else (0, 1)


def turns(first: int) -> Iterator[int]:
    """Give the side whose turn it is: ABBA ABBA ..., so that a steady drift cancels."""
    return itertools.cycle((first, 1 - first, 1 - first, first))


def measure_pair(
    load: BenchLoad | PacedLoad, sides: tuple[BenchTarget, BenchTarget], index: int
) -> Pair:
    """Measure both sides under one load.

    Raises BenchProcessFailed, also when an answer was wrong.
    """
    sequence = order(index)
    before = [side.process.cpu() for side in sides]
    if isinstance(load, BenchLoad):
        results = _closed(load, sides, sequence)
        faults = [measure.closed_fault(result) for result in results]
        units = [result["requests"] * load.units for result in results]
    else:
        results = _paced(load, sides, sequence)
        faults = [measure.paced_fault(load, result) for result in results]
        units = [result["pieces"] for result in results]
    used = [side.process.cpu() - start for side, start in zip(sides, before, strict=True)]
    for side, fault in zip(sides, faults, strict=True):
        side.process.check()
        if fault:
            raise BenchProcessFailed(f"{load.name}, {side.name}: {fault}")
    a, b = (cpu * 1e6 / count for cpu, count in zip(used, units, strict=True))
    return Pair(a, b, max(result.get("pieces_a_read", 1.0) for result in results))


def _closed(
    load: BenchLoad, sides: tuple[BenchTarget, BenchTarget], sequence: tuple[int, int]
) -> list[dict[str, Any]]:
    with measure.body_file(load) as body:
        commands = [measure.wrk_command(load, side, body, _SECONDS) for side in sides]
        with _clients(commands, sequence) as clients:
            until = time.monotonic() + _SECONDS
            for turn in turns(sequence[0]):
                # Only the client is stopped: what its gateway has begun, it finishes.
                clients[1 - turn].send_signal(signal.SIGSTOP)
                clients[turn].send_signal(signal.SIGCONT)
                if time.monotonic() + TURN >= until:
                    break
                time.sleep(TURN)
            for client in clients:
                client.send_signal(signal.SIGCONT)
            return [_result(client, 60) for client in clients]


def _paced(
    load: PacedLoad, sides: tuple[BenchTarget, BenchTarget], sequence: tuple[int, int]
) -> list[dict[str, Any]]:
    commands = [measure.paced_command(load, side) for side in sides]
    with _clients(commands, sequence) as clients:
        return [_result(client, 120) for client in clients]


@contextmanager
def _clients(
    commands: Sequence[Sequence[str]], sequence: tuple[int, int]
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start both clients in the pair's order; gives them in the order of the sides."""
    with ExitStack() as stack:
        started = {}
        for side in sequence:
            client = subprocess.Popen(
                commands[side], stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            stack.callback(client.wait)
            stack.callback(client.kill)  # a stopped one, too
            started[side] = client
        yield [started[0], started[1]]


def _result(client: subprocess.Popen[bytes], timeout: float) -> dict[str, Any]:
    try:
        output, errors = client.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise BenchProcessFailed(f"{client.args!r} did not end within {timeout:g} s") from None
    if client.returncode:
        raise BenchProcessFailed(f"{client.args!r} failed:\n{errors.decode()[-2000:]}")
    return measure.result_of(output)
