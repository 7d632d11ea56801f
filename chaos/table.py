"""Prints the table of a run."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

_WIDTH = 70


@dataclass(frozen=True)
class Row:
    """Holds a line: what was checked, how much of it, what was found, whether that is good."""

    name: str
    count: str
    found: str
    good: bool


def show(rows: list[Row]) -> str:
    """Return the rows as text; long findings are continued on lines of their own."""
    names = max(len(row.name) for row in rows)
    counts = max(len(row.count) for row in rows)
    lines = []
    for row in rows:
        first, *others = textwrap.wrap(row.found, _WIDTH) or [""]
        mark = "ok" if row.good else "WRONG"
        lines.append(f"{row.name:<{names}}  {row.count:>{counts}}  {first:<{_WIDTH}}  {mark}")
        lines += [f"{'':<{names}}  {'':>{counts}}  {other}" for other in others]
    return "\n".join(lines)
