"""Reads the journal of `chaos.middleware`: which requests arrived, and when each was done."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass
class Arrival:
    """Records a request in one process. began, ended: monotonic seconds; None while it ran."""

    pid: int
    began: float
    ended: float | None = None


def read(path: Path) -> dict[str, list[Arrival]]:
    """Return the arrivals by tag.

    A request that ended more often than it arrived has a negative beginning.
    """
    found: dict[str, list[Arrival]] = {}
    for line in path.read_text("ascii").splitlines():
        pid, seconds, sign, tag = line.split(" ")
        arrivals = found.setdefault(tag, [])
        if sign == "+":
            arrivals.append(Arrival(int(pid), float(seconds)))
            continue
        under_way = [a for a in arrivals if a.pid == int(pid) and a.ended is None]
        if not under_way:
            arrivals.append(Arrival(int(pid), -1.0, float(seconds)))
        else:
            under_way[0].ended = float(seconds)
    return found


@dataclass(frozen=True)
class Hold:
    """Says how long a process's event loop did one thing, in milliseconds.

    tag: a request that arrived or ended meanwhile; "-" if none did.
    """

    milliseconds: float
    tag: str


def longest_hold(path: Path) -> Hold | None:
    """Return the longest hold of all processes; None when none was seen."""
    holds = []
    for line in path.read_text("ascii").splitlines():
        _, _, milliseconds, tag = line.split(" ")
        holds.append(Hold(float(milliseconds), tag))
    return max(holds, key=lambda hold: hold.milliseconds, default=None)
