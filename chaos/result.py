"""What a run found, as rows of its table and as sentences about what must not be."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from chaos.books import Books
from chaos.processes import Gateway, Measures
from chaos.proxy import Proxy
from chaos.table import Row, show

_GROWTH = 1.15  # of a quiet process's memory, from the warm one's to that at the end
_MOST_FAULTS = 40  # that are printed


@dataclass(frozen=True)
class Result:
    """faults: a sentence each for what does not add up; with none the run is a good one."""

    rows: list[Row]
    faults: list[str]

    def report(self) -> int:
        """Print it; the exit status."""
        print(show(self.rows))
        for fault in self.faults[:_MOST_FAULTS]:
            print(f"WRONG {fault}", file=sys.stderr)
        return 1 if self.faults else 0


def of_books(books: Books, proxy: Proxy, gateway: Gateway) -> Result:
    """The requests by kind, the faults, whether all agrees, the exit statuses."""
    faults = list(books.faults)
    rows = [Row("requests", str(len(books.entries)), "", True)]
    for kind, seen in books.outcomes.items():
        told = ", ".join(f"{count} {name}" for name, count in seen.most_common())
        wrong = any(f"({kind}, " in fault for fault in books.faults)
        rows.append(Row(f"  {kind}", str(seen.total()), told, not wrong))
    struck = ", ".join(f"{count} {kind}" for kind, count in sorted(proxy.strikes.items()))
    rows.append(Row("faults", str(proxy.strikes.total()), struck, True))
    verdict = f"{len(faults)} do not agree" if faults else "client, log and emulator agree"
    rows.append(Row("books", str(len(books.entries)), verdict, not faults))
    statuses = ", ".join(map(str, gateway.statuses))
    well = not any(gateway.statuses)
    rows.append(Row("exits", str(len(gateway.statuses)), f"on SIGTERM: {statuses}", well))
    if not well:
        faults.append(f"exit statuses on SIGTERM: {statuses}")
    return Result(rows, faults)


def compared(before: Measures, after: Measures, *, memory: bool) -> list[tuple[Row, str]]:
    """Rows for a quiet process before and after, each with its fault or "".

    memory: whether that of the quiet process counts.
    """
    found = [
        _row(
            "descriptors",
            before.descriptors,
            after.descriptors,
            after.descriptors <= before.descriptors,
        ),
        _tasks(before.tasks, after.tasks),
    ]
    if memory:
        start, end = (round(measures.memory / 1e6, 1) for measures in (before, after))
        found.append(_row("memory, MB", start, end, end <= start * _GROWTH))
    return found


def _tasks(before: dict[str, int], after: dict[str, int]) -> tuple[Row, str]:
    more = {name: n - before.get(name, 0) for name, n in after.items() if n > before.get(name, 0)}
    note = f"; more: {more}" if more else ""
    return _row("tasks", sum(before.values()), sum(after.values()), not more, note)


def _row(name: str, start: float, end: float, good: bool, note: str = "") -> tuple[Row, str]:
    row = Row(name, str(end), f"{start} before{note}", good)
    return row, "" if good else f"{name}: {start} before, {end} after{note}"
