"""Compares two commits, or two configurations, by processor time per unit.

    python -m benchmarks.compare --rev COMMIT
    python -m benchmarks.compare --a ONE.yaml --b TWO.yaml

Side A is the working tree, side B the commit; or both are the working tree, with a YAML file
each laid over the benchmark's configuration. Both run at once, on one processor, and are
measured in pairs. Exit status: 0 no load is worse; 1 one is; 2 nothing could be measured; 3 an
interval stayed too wide.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import yaml

from benchmarks import machine, measure, revision
from benchmarks.loads import CLOSED, PacedLoad
from benchmarks.pairs import LOADS, Pair, measure_pair, order
from benchmarks.processes import ROOT, BenchProcessFailed, allow_many_files, pinned
from benchmarks.ratios import FEWEST, WIDEST, Ratio, enough, exit_status
from benchmarks.targets import BenchTarget, Lab, laboratory, missing_tools

_PAIRS, _MOST = 20, 100
# Processes of the same code differ by some percent: hash seed, addresses. So every few pairs
# have fresh ones; an even number, so that each side is first as often as the other.
_BLOCK = 4
# Neither may take modules from elsewhere than from its own tree.
_ENVIRON = {"PYTHONPATH": "", "PYTHONSAFEPATH": ""}


@dataclass(frozen=True, slots=True)
class Side:
    """Describes one of the two gateways that are compared."""

    name: str
    what: str
    python: Path = Path(sys.executable)
    tree: Path = ROOT
    settings: Mapping[str, Any] = field(default_factory=dict)

    def start(self, lab: Lab, *, tls: bool) -> BenchTarget:
        """Start its gateway from its own tree."""
        command = f"{shlex.quote(str(self.python))} -m gateway serve --config {{config}}"
        return lab.gateway(
            self.name,
            command,
            tls=tls,
            tree=self.tree,
            settings=self.settings,
            environ=_ENVIRON,
        )


class LoadComparison:
    """Measures load after load; `pairs` has every pair by load."""

    def __init__(self, lab: Lab, sides: tuple[Side, Side], fewest: int) -> None:
        self._lab = lab
        self._sides = sides
        self._fewest = fewest
        # Shared by both, so that neither has the better one.
        self._cpu = max(os.sched_getaffinity(0))
        self.pairs: dict[str, list[Pair]] = {}
        self.loops: list[str] = []

    def load(self, name: str) -> Ratio:
        """Measure one load until its interval is narrow, or the pairs are many."""
        pairs = self.pairs.setdefault(name, [])
        while not enough([pair.ratio for pair in pairs], self._fewest, _MOST):
            self._block(name, pairs)
        return Ratio.of([pair.ratio for pair in pairs])

    def _block(self, name: str, pairs: list[Pair]) -> None:
        """Add a few pairs, measured with fresh processes."""
        load = LOADS[name]
        tls = isinstance(load, PacedLoad) and load.tls
        started: dict[int, BenchTarget] = {}
        for index in order(len(pairs) // _BLOCK):
            with pinned(self._cpu):
                started[index] = self._sides[index].start(self._lab, tls=tls)
        targets = started[0], started[1]
        self.loops = [machine.event_loop(target.process.popen.pid) for target in targets]
        for target in targets:
            measure.closed_loop(CLOSED[0], target, self._lab.upstream, 1)  # to be warm
        for _ in range(_BLOCK):
            pair = measure_pair(load, targets, len(pairs))
            pairs.append(pair)
            print(f"{name} {len(pairs)}: {pair.ratio:.3f}", file=sys.stderr, flush=True)
        for target in targets:
            self._lab.stop(target)


def rows(pairs: Mapping[str, Sequence[Pair]], ratios: Mapping[str, Ratio]) -> list[str]:
    """Return the table, one line a load."""
    row = "{:10} {:8} {:>5} {:>9} {:>9} {:>6}  {:16} {}"
    lines = [row.format("load", "unit", "pairs", "A us", "B us", "A/B", "90 % interval", "verdict")]
    for name, ratio in ratios.items():
        measured = pairs[name]
        lines.append(
            row.format(
                name,
                LOADS[name].unit,
                len(measured),
                f"{statistics.median(pair.a for pair in measured):.2f}",
                f"{statistics.median(pair.b for pair in measured):.2f}",
                f"{ratio.median:.3f}",
                f"{ratio.low:.3f} to {ratio.high:.3f}",
                ratio.verdict,
            )
        )
    return lines


def notes(pairs: Mapping[str, Sequence[Pair]], ratios: Mapping[str, Ratio]) -> list[str]:
    """Say what limits the table's worth."""
    lines = []
    for name, ratio in ratios.items():
        if ratio.too_wide:
            lines.append(
                f"{name}: after {len(pairs[name])} pairs the interval is still wider than "
                f"{WIDEST}; repeat it on a quieter machine."
            )
        if len(pairs[name]) < _PAIRS:
            lines.append(f"{name}: fewer than {_PAIRS} pairs, only a rough look.")
        crowd = statistics.median(pair.crowd for pair in pairs[name])
        if crowd > measure.CROWDED:
            lines.append(
                f"{name}: {crowd:.2f} pieces arrived at a time; the machine was too busy, and "
                "such pieces cost less."
            )
    return lines


def settings_from(path: Path) -> dict[str, Any]:
    """Read a YAML file that is laid over the benchmark's configuration.

    Raises BenchProcessFailed.
    """
    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise BenchProcessFailed(f"{path} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BenchProcessFailed(f"{path} is not YAML: {error}") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise BenchProcessFailed(
            f"{path} must hold a mapping, such as: fitten: {{chat_client: aiohttp}}"
        )
    server = found.get("server")
    if isinstance(server, dict) and not server.keys().isdisjoint(("host", "port")):
        raise BenchProcessFailed(
            f"{path} sets server.host or server.port, which the benchmark chooses itself."
        )
    return found


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; what is wrong ends the process with status 2."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rev", metavar="COMMIT", help="what the working tree is compared with")
    parser.add_argument("--a", type=Path, metavar="FILE", help="YAML over the configuration")
    parser.add_argument("--b", type=Path, metavar="FILE", help="likewise, for the other side")
    parser.add_argument("--pairs", type=int, default=_PAIRS, help="at least so many of each load")
    parser.add_argument("--loads", default=",".join(LOADS), help="%(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every pair")
    given = parser.parse_args(words)
    if given.rev and (given.a or given.b):
        parser.error("Give either REV, or A and B, not both.")
    if not given.rev and not (given.a and given.b):
        parser.error(
            "Say what to compare: make bench-compare REV=<commit> for the working tree with a "
            "commit, or A=<file> B=<file> for two configurations."
        )
    if given.pairs < FEWEST:
        parser.error(f"PAIRS must be at least {FEWEST}: fewer have no 90 % interval.")
    given.loads = list(dict.fromkeys(name for name in given.loads.split(",") if name))
    if not given.loads:
        parser.error(f"LOADS names no load. There are: {', '.join(LOADS)}.")
    for name in given.loads:
        if name not in LOADS:
            parser.error(f"There is no load {name!r}. There are: {', '.join(LOADS)}.")
    return given


@contextmanager
def _both_sides(given: argparse.Namespace) -> Iterator[tuple[Side, Side]]:
    """Prepare the sides; the commit's files are gone afterwards."""
    here = revision.working_tree()
    if given.rev is None:
        one, two = (Side(n, f"{f} ({here})", settings=settings_from(f)) for n, f in _files(given))
        yield one, two
        return
    commit = revision.resolve(given.rev)
    with tempfile.TemporaryDirectory(prefix="bench-tree-") as folder:
        tree = revision.check_out(commit, Path(folder))
        python = revision.interpreter(tree)
        packages = "" if python == Path(sys.executable) else ", with the packages of its own lock"
        yield Side("A", here), Side("B", f"{given.rev} ({commit[:10]}){packages}", python, tree)


def _files(given: argparse.Namespace) -> tuple[tuple[str, Path], tuple[str, Path]]:
    return ("A", given.a), ("B", given.b)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """Leave by way of every `finally`, which a second signal must not interrupt."""
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    sys.exit(128 + number)


def main() -> int:
    """Compare; see the module for the exit status."""
    given = arguments()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    if fault := missing_tools("wrk", "openssl"):
        print(fault, file=sys.stderr)
        return 2
    allow_many_files()
    ratios: dict[str, Ratio] = {}
    try:
        with _both_sides(given) as sides, laboratory() as lab:
            comparison = LoadComparison(lab, sides, given.pairs)
            for name in given.loads:
                ratios[name] = comparison.load(name)
    except BenchProcessFailed as error:
        print(error, file=sys.stderr)
        return 2
    print(machine.line(comparison.loops))
    for side in sides:
        print(f"{side.name}: {side.what}")
    print("", *rows(comparison.pairs, ratios), "", sep="\n")
    print("us: the median of processor time per unit; A/B: the median of the pairs' ratios.")
    for note in notes(comparison.pairs, ratios):
        print(note)
    if given.json:
        data = {name: [asdict(pair) for pair in pairs] for name, pairs in comparison.pairs.items()}
        given.json.write_text(json.dumps(data, indent=1) + "\n", "utf-8")
    return exit_status([ratio.verdict for ratio in ratios.values()])


if __name__ == "__main__":
    sys.exit(main())
