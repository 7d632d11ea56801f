"""Measures the gateway against nginx, the lower limit, in interleaved rounds.

    python -m benchmarks.run [--quick] [--only LOAD] [--peers] [--rounds N] [--json FILE]

The figures are processor time of the target's processes per unit. The multiple of nginx is the
median over the rounds of the ratio within a round. So a machine that changes its speed changes both
sides.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import loads, measure
from benchmarks.loads import CLOSED, BenchLoad, PacedLoad
from benchmarks.measure import Sample
from benchmarks.processes import BenchProcessFailed, allow_many_files
from benchmarks.targets import (
    GATEWAY,
    BenchTarget,
    Lab,
    install_peers,
    laboratory,
    missing_tools,
    versions,
)

_NAMES = (*(load.name for load in CLOSED), "paced", "paced-tls", "open")
_Runs = dict[str, list[Sample]]  # by target


class Benchmark:
    """Runs the loads, one after the other; `runs` has every sample by load and target."""

    def __init__(self, lab: Lab, given: argparse.Namespace) -> None:
        self._lab = lab
        self._quick = given.quick
        self._rounds = given.rounds or (2 if given.quick else 5)
        self._peers = given.peers
        self._variant = given.gateway_cmd
        self._wanted = given.only or _NAMES
        self.runs: dict[str, _Runs] = {}
        self.direct: dict[str, Sample] = {}
        self.start: dict[str, float] = {}

    def all(self) -> None:
        """Run everything that is asked for."""
        targets = self._targets()
        gateway = targets[1]
        self.start = {
            "ready_s": gateway.ready_after,
            "idle_mb": gateway.process.memory() / 1e6,
            "help_s": measure.help_seconds(),
        }
        upstream = self._lab.upstream
        for target in targets:
            measure.closed_loop(CLOSED[0], target, upstream, 1)  # to be warm
        seconds = 1 if self._quick else 3
        for load in CLOSED:
            if load.name not in self._wanted:
                continue
            path = "/codeapi/chat_auth"
            self.direct[load.name] = measure.closed_loop(
                load, self._lab.direct, upstream, 1, path=path
            )

            def run(target: BenchTarget, load: BenchLoad = load) -> Sample:
                return measure.closed_loop(load, target, upstream, seconds)

            self._interleaved(load.name, targets, run)
        if "paced" in self._wanted:
            streams = loads.QUICK_PACED if self._quick else loads.PACED
            self._paced(streams, [self._lab.direct, *targets])
        for target in targets:
            self._lab.stop(target)
        if "paced-tls" in self._wanted:
            secure = [self._lab.nginx(tls=True), self._lab.gateway(tls=True)]
            self._paced(loads.QUICK_PACED_TLS if self._quick else loads.PACED_TLS, secure)
            for target in secure:
                self._lab.stop(target)
        if "open" in self._wanted:
            self._open_streams()

    def _targets(self) -> list[BenchTarget]:
        targets = [self._lab.nginx(), self._lab.gateway()]
        if self._variant:
            targets.append(self._lab.gateway("variant", self._variant))
        if self._peers:
            targets.append(self._lab.litellm())
        return targets

    def _paced(self, load: PacedLoad, targets: Sequence[BenchTarget]) -> None:
        def run(target: BenchTarget) -> Sample:
            fit = load.gentler() if target.slow else load
            return measure.paced(fit, target, self._lab.upstream)

        self._interleaved(load.name, targets, run)

    def _open_streams(self) -> None:
        """Each time in fresh processes: memory that an earlier load left would hide some."""
        load = loads.QUICK_OPEN if self._quick else loads.OPEN
        for _ in range(1 if self._quick else 2):
            for target in self._targets():
                fit = load.gentler() if target.slow else load
                measure.closed_loop(CLOSED[0], target, self._lab.upstream, 1)  # to be warm
                run = measure.open_streams(fit, target, self._lab.upstream)
                self._keep(load.name, target, run)
                self._lab.stop(target)

    def _interleaved(
        self, name: str, targets: Sequence[BenchTarget], run: Callable[[BenchTarget], Sample]
    ) -> None:
        for _ in range(self._rounds):
            for target in targets:
                self._keep(name, target, run(target))

    def _keep(self, name: str, target: BenchTarget, sample: Sample) -> None:
        self.runs.setdefault(name, {}).setdefault(target.name, []).append(sample)
        state = sample.fault or f"{sample.cpu_us:.2f} us"
        print(f"{name} {target.name} {state}", file=sys.stderr, flush=True)

    @property
    def faults(self) -> list[str]:
        """Return every answer that was wrong."""
        return [
            f"{load} {target}: {sample.fault}"
            for load, runs in self.runs.items()
            for target, samples in runs.items()
            for sample in samples
            if sample.fault
        ]


def multiple(runs: _Runs, name: str) -> float:
    """Return the multiple of nginx: the median of each round's ratio."""
    pairs = zip(runs[name], runs["nginx"], strict=False)
    return statistics.median(ours.cpu_us / floor.cpu_us for ours, floor in pairs)


def print_cost(bench: Benchmark) -> None:
    """Print the processor time of every load and target."""
    row = "{:10} {:8} {:8} {:>9} {:>9} {:>9} {:>8} {:>10} {:>9}"
    print(
        row.format(
            "load", "unit", "target", "median", "min", "max", "x nginx", "units/s", "upstream"
        )
    )
    units = {load.name: load.unit for load in CLOSED}
    for load, runs in bench.runs.items():
        for name, samples in runs.items():
            if name == "direct":
                continue
            costs = [s.cpu_us for s in samples]
            print(
                row.format(
                    load,
                    units.get(load, "piece"),
                    name,
                    f"{statistics.median(costs):.2f}",
                    f"{min(costs):.2f}",
                    f"{max(costs):.2f}",
                    f"{multiple(runs, name):.1f}" if "nginx" in runs else "",
                    f"{statistics.median(s.rate for s in samples):.0f}",
                    f"{statistics.median(s.upstream_share for s in samples):.0%}",
                )
            )
    print("\nmedian, min, max: microseconds of processor time per unit; upstream: share of a core.")
    for load, sample in bench.direct.items():
        share = sample.upstream_share
        print(f"The upstream alone: {load} {sample.rate:.0f} units/s at {share:.0%} of a core.")


def print_delay(bench: Benchmark) -> None:
    """Print the delay that is added to each piece, and what an open stream takes."""
    for load, runs in bench.runs.items():
        direct = runs.get("direct")
        for name, samples in runs.items():
            more = {key: statistics.median(s.more[key] for s in samples) for key in samples[0].more}
            if load == "open":
                print(
                    f"open       {name:8} {more['stream_kb']:.1f} KB a stream; another caller's "
                    f"GET /health p50 {more['lag_p50_ms']:.2f} ms, p99 {more['lag_p99_ms']:.2f} ms"
                )
            elif direct and name != "direct":
                added = [
                    _added(key, samples, direct)
                    for key in ("first_p50_us", "first_p99_us", "later_p50_us", "later_p99_us")
                ]
                print(
                    f"delay      {name:8} added to the first piece p50 {added[0]:.2f} ms, p99 "
                    f"{added[1]:.2f} ms; to later ones p50 {added[2]:.2f} ms, p99 {added[3]:.2f} ms"
                )
            if (crowd := more.get("pieces_a_read", 0.0)) > measure.CROWDED:
                print(
                    f"           {name:8} {load}: {crowd:.2f} pieces arrived at a time: the "
                    "machine was too busy, and such pieces cost less"
                )
    start = bench.start
    print(
        f"gateway    idle {start['idle_mb']:.1f} MB; start to ready {start['ready_s']:.2f} s; "
        f"--help {start['help_s'] * 1e3:.0f} ms"
    )


def _added(key: str, samples: list[Sample], direct: list[Sample]) -> float:
    pairs = zip(samples, direct, strict=False)
    return statistics.median((s.more[key] - d.more[key]) / 1e3 for s, d in pairs)


def _as_data(bench: Benchmark) -> dict[str, Any]:
    return {
        "versions": versions(),
        "start": bench.start,
        "upstream_alone": {name: asdict(sample) for name, sample in bench.direct.items()},
        "runs": {
            load: {name: [asdict(s) for s in samples] for name, samples in runs.items()}
            for load, runs in bench.runs.items()
        },
        "x_nginx": {
            load: {name: multiple(runs, name) for name in runs if name != "direct"}
            for load, runs in bench.runs.items()
        },
    }


def main() -> int:
    """Run the benchmark. Exit status: 0; 1 after a wrong answer; 2 when nothing was measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="under a minute, rougher")
    parser.add_argument("--only", action="append", choices=_NAMES, metavar="LOAD", help=f"{_NAMES}")
    parser.add_argument("--peers", action="store_true", help="LiteLLM too; installs it")
    parser.add_argument("--rounds", type=int, help="of every target, interleaved")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every sample")
    parser.add_argument(
        "--gateway-cmd",
        metavar="CMD",
        help=f"a variant to compare with the gateway, such as: {GATEWAY}",
    )
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by way of every `finally`
    if fault := missing_tools("wrk", "nginx", "openssl"):
        print(fault, file=sys.stderr)
        return 2
    allow_many_files()
    try:
        if given.peers:
            install_peers()
        with laboratory() as lab:
            bench = Benchmark(lab, given)
            bench.all()
    except BenchProcessFailed as error:
        print(error, file=sys.stderr)
        return 2
    print(", ".join(f"{name} {version}" for name, version in versions().items()), "\n")
    print_cost(bench)
    print_delay(bench)
    if given.json:
        given.json.write_text(json.dumps(_as_data(bench), indent=1) + "\n", "utf-8")
    for line in bench.faults:
        print(f"WRONG: {line}", file=sys.stderr)
    return 1 if bench.faults else 0


if __name__ == "__main__":
    sys.exit(main())
