"""One run of one load against one target: processor time per unit, checked answers."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import loads
from benchmarks.loads import BenchLoad
from benchmarks.processes import BenchProcess, BenchProcessFailed, Probe
from benchmarks.targets import BenchTarget

_LUA = Path(__file__).parent / "load.lua"


@dataclass(frozen=True, slots=True)
class PacedMeasure:
    """Streams that get a piece at every turn."""

    name: str
    streams: int
    pieces: int
    pace: int  # milliseconds
    unit: str = "piece"

    def gentler(self) -> PacedMeasure:
        """For targets that could not keep up."""
        return PacedMeasure(self.name, self.streams // 20, self.pieces, self.pace)


@dataclass(slots=True)
class Sample:
    """What one run gave."""

    cpu_us: float = 0.0  # of the target, per unit
    rate: float = 0.0  # units a second
    upstream_share: float = 0.0  # of a core
    fault: str = ""
    more: dict[str, float] = field(default_factory=dict)


class ProcessWatch:
    """Processor time of the target and the upstream while something runs."""

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
    """wrk asks as fast as it is answered."""
    path = path or "/v1/chat/completions"
    connections, seconds = (4, seconds * 3) if target.slow else (load.connections, seconds)
    dialect = "fitten" if "chat_auth" in path else "openai"
    watch = ProcessWatch(target.process, upstream)
    with tempfile.NamedTemporaryFile(prefix="bench-body-") as file:
        file.write(load.body)
        file.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s"]
        command += ["-s", str(_LUA), f"http://127.0.0.1:{target.port}{path}"]
        command += ["--", file.name, str(target.keys), str(load.pieces), dialect]
        with watch.running():
            result = _run(command, seconds + 60)
    requests = result["requests"]
    sample = Sample()
    if result["wrong"] or result["broken"] or not requests or not result["checked"]:
        sample.fault = (
            f"{requests} requests, {result['wrong']} wrong answers, {result['broken']} broken "
            f"connections: {result['sample']}"
        )
    units = max(1, requests * load.units)
    sample.cpu_us = watch.target / units * 1e6
    sample.rate = units / result["seconds"]
    sample.upstream_share = watch.upstream / watch.wall
    sample.more = {"p50_ms": result["p50_ms"], "p99_ms": result["p99_ms"]}
    return sample


def paced(load: PacedMeasure, target: BenchTarget, upstream: BenchProcess) -> Sample:
    """Streams at a pace; the client notes how late each piece came."""
    watch = ProcessWatch(target.process, upstream)
    with watch.running():
        result = _run(_paced_command(load, target, 0.5), 120 + load.pieces * load.pace / 200)
    return _paced_sample(load, watch, result)


def open_streams(
    load: PacedMeasure, target: BenchTarget, upstream: BenchProcess, ramp: float
) -> Sample:
    """Memory of each open stream, and how late another caller is answered meanwhile."""
    watch = ProcessWatch(target.process, upstream)
    idle = target.process.memory()
    latencies: list[float] = []
    probe = Probe(target.port, target.health)
    with (
        watch.running(),
        subprocess.Popen(_paced_command(load, target, ramp), stdout=subprocess.PIPE) as client,
    ):
        try:
            started, peak = time.monotonic(), 0.0
            until = started + ramp + load.pieces * load.pace / 1000 * 0.9
            while time.monotonic() < until and client.poll() is None:
                latencies.append(probe.ask()[1])
                if not peak and time.monotonic() > started + ramp + 1.5:
                    peak = target.process.memory()
                time.sleep(0.01)
            output, _ = client.communicate(timeout=120)
        finally:
            client.kill()
            probe.close()
    sample = _paced_sample(load, watch, _result(output))
    sample.more["stream_kb"] = (peak - idle) / load.streams / 1024
    sample.more["lag_p50_ms"] = loads.percentile(latencies, 0.5) * 1e3
    sample.more["lag_p99_ms"] = loads.percentile(latencies, 0.99) * 1e3
    return sample


def help_seconds() -> float:
    """How long `--help` takes, the median of five."""
    command = [sys.executable, "-m", "gateway", "--help"]
    taken = []
    for _ in range(5):
        started = time.monotonic()
        subprocess.run(command, stdout=subprocess.DEVNULL, timeout=20, check=True)
        taken.append(time.monotonic() - started)
    return sorted(taken)[2]


def _paced_command(load: PacedMeasure, target: BenchTarget, ramp: float) -> list[str]:
    options = {
        "port": target.port,
        "streams": load.streams,
        "pieces": load.pieces,
        "pace": load.pace,
        "ramp": ramp,
        "keys": target.keys,
    }
    given = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return [sys.executable, "-m", "benchmarks.paced", *given]


def _paced_sample(load: PacedMeasure, watch: ProcessWatch, result: dict[str, Any]) -> Sample:
    pieces = max(1, result["pieces"])
    sample = Sample(watch.target / pieces * 1e6, pieces / watch.wall, watch.upstream / watch.wall)
    if result["faults"] or pieces != load.streams * load.pieces:
        sample.fault = f"{result['faults']} faults, such as: {result['sample']}"
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
    return _result(done.stdout)


def _result(output: bytes) -> dict[str, Any]:
    lines = output.decode("utf-8", "replace").strip().splitlines()
    for line in reversed(lines):
        if line.startswith(("RESULT {", "{")):
            found: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
            return found
    raise BenchProcessFailed(f"no result in: {output[-1000:]!r}")
