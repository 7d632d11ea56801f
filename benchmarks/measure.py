"""Measures one run of one load on one target: processor time per unit, checked answers."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks import loads
from benchmarks.loads import BenchLoad, PacedLoad
from benchmarks.processes import BenchProcess, BenchProcessFailed, Probe
from benchmarks.targets import BenchTarget

CROWDED = 1.15  # paced pieces in one read: from here on the machine was too busy
_LUA = Path(__file__).parent / "load.lua"


@dataclass(slots=True)
class Sample:
    """Holds the results of one run."""

    cpu_us: float = 0.0  # of the target, per unit
    rate: float = 0.0  # units a second
    upstream_share: float = 0.0  # of a core
    fault: str = ""
    more: dict[str, float] = field(default_factory=dict)


class ProcessWatch:
    """Measures processor time of the target and the upstream while something runs."""

    def __init__(self, target: BenchProcess, upstream: BenchProcess) -> None:
        self._watched = (target, upstream)
        self.target = self.upstream = self.wall = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        started, before = time.monotonic(), [p.cpu() for p in self._watched]
        yield
        for process in self._watched:
            process.check()
        self.wall = time.monotonic() - started
        used = [p.cpu() - b for p, b in zip(self._watched, before, strict=True)]
        self.target, self.upstream = used


def closed_loop(
    load: BenchLoad, target: BenchTarget, upstream: BenchProcess, seconds: int, *, path: str = ""
) -> Sample:
    """Run a closed loop: wrk asks as fast as it is answered."""
    connections, seconds = (4, seconds * 3) if target.slow else (load.connections, seconds)
    fit = replace(load, connections=connections)
    watch = ProcessWatch(target.process, upstream)
    with body_file(load) as body:
        command = wrk_command(fit, target, body, seconds, path=path)
        with watch.running():
            result = _run(command, seconds + 60)
    sample = Sample(fault=closed_fault(result))
    units = max(1, result["requests"] * load.units)
    sample.cpu_us = watch.target / units * 1e6
    sample.rate = units / result["seconds"]
    sample.upstream_share = watch.upstream / watch.wall
    sample.more = {"p50_ms": result["p50_ms"], "p99_ms": result["p99_ms"]}
    return sample


@contextmanager
def body_file(load: BenchLoad) -> Iterator[str]:
    """Put a load's request where wrk reads it; gives the file's name."""
    with tempfile.NamedTemporaryFile(prefix="bench-body-") as file:
        file.write(load.body)
        file.flush()
        yield file.name


def wrk_command(
    load: BenchLoad, target: BenchTarget, body: str, seconds: int, *, path: str = ""
) -> list[str]:
    """Return the command that runs a closed loop."""
    path = path or "/v1/chat/completions"
    dialect = "fitten" if "chat_auth" in path else "openai"
    command = ["wrk", "-t1", f"-c{load.connections}", f"-d{seconds}s", "--timeout", "20s"]
    command += ["-s", str(_LUA), f"http://127.0.0.1:{target.port}{path}"]
    return [*command, "--", body, str(target.keys), str(load.pieces), dialect]


def closed_fault(result: dict[str, Any]) -> str:
    """Say what was wrong in a closed loop's result; empty if nothing was."""
    requests, wrong, broken = result["requests"], result["wrong"], result["broken"]
    if requests and result["checked"] and not wrong and not broken:
        return ""
    return (
        f"{requests} requests, {wrong} wrong answers, {broken} broken connections: "
        f"{result['sample']}"
    )


def paced_fault(load: PacedLoad, result: dict[str, Any]) -> str:
    """Say what was wrong in the result of paced streams; empty if nothing was."""
    if not result["faults"] and result["pieces"] == load.streams * load.pieces:
        return ""
    return f"{result['faults']} faults, such as: {result['sample']}"


def paced(load: PacedLoad, target: BenchTarget, upstream: BenchProcess) -> Sample:
    """Run streams at a pace; the client records how late each piece came."""
    watch = ProcessWatch(target.process, upstream)
    with watch.running():
        result = _run(paced_command(load, target), 120 + load.pieces * load.pace / 200)
    return _paced_sample(load, watch, result)


def open_streams(load: PacedLoad, target: BenchTarget, upstream: BenchProcess) -> Sample:
    """Measure the memory of each open stream, and how late another client is answered meanwhile."""
    watch = ProcessWatch(target.process, upstream)
    idle = target.process.memory()
    latencies: list[float] = []
    probe = Probe(target.port, target.health)
    with (
        watch.running(),
        subprocess.Popen(paced_command(load, target), stdout=subprocess.PIPE) as client,
    ):
        try:
            started, peak = time.monotonic(), 0.0
            until = started + load.ramp + load.pieces * load.pace / 1000 * 0.9
            while time.monotonic() < until and client.poll() is None:
                latencies.append(probe.ask()[1])
                if not peak and time.monotonic() > started + load.ramp + 1.5:
                    peak = target.process.memory()
                time.sleep(0.01)
            output, _ = client.communicate(timeout=120)
        finally:
            client.kill()
            probe.close()
    sample = _paced_sample(load, watch, result_of(output))
    sample.more["stream_kb"] = (peak - idle) / load.streams / 1024
    sample.more["lag_p50_ms"] = loads.percentile(latencies, 0.5) * 1e3
    sample.more["lag_p99_ms"] = loads.percentile(latencies, 0.99) * 1e3
    return sample


def help_seconds() -> float:
    """Return how long `--help` takes, the median of five."""
    command = [sys.executable, "-m", "gateway", "--help"]
    taken = []
    for _ in range(5):
        started = time.monotonic()
        subprocess.run(command, stdout=subprocess.DEVNULL, timeout=20, check=True)
        taken.append(time.monotonic() - started)
    return sorted(taken)[2]


def paced_command(load: PacedLoad, target: BenchTarget) -> list[str]:
    """Return the command that reads paced streams."""
    options = {
        "port": target.port,
        "streams": load.streams,
        "pieces": load.pieces,
        "pace": load.pace,
        "ramp": load.ramp,
        "keys": target.keys,
    }
    given = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return [sys.executable, "-m", "benchmarks.paced", *given]


def _paced_sample(load: PacedLoad, watch: ProcessWatch, result: dict[str, Any]) -> Sample:
    pieces = max(1, result["pieces"])
    sample = Sample(watch.target / pieces * 1e6, pieces / watch.wall, watch.upstream / watch.wall)
    sample.fault = paced_fault(load, result)
    sample.more = {name: result[name] for name in result if name.endswith("_us")}
    sample.more["pieces_a_read"] = result["pieces_a_read"]
    sample.more["client_share"] = result["client_cpu"] / watch.wall
    return sample


def _run(command: list[str], timeout: float) -> dict[str, Any]:
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        raise BenchProcessFailed(f"{command[0]} did not end within {timeout:g} s") from None
    if done.returncode:
        raise BenchProcessFailed(f"{' '.join(command)} failed:\n{done.stderr.decode()[-2000:]}")
    return result_of(done.stdout)


def result_of(output: bytes) -> dict[str, Any]:
    """Return the result that a client printed. Raises BenchProcessFailed."""
    lines = output.decode("utf-8", "replace").strip().splitlines()
    for line in reversed(lines):
        if line.startswith(("RESULT {", "{")):
            found: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
            return found
    raise BenchProcessFailed(f"no result in: {output[-1000:]!r}")
