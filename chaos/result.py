"""Builds what a run found: rows of its table, and sentences about what must not be."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Self

from chaos.processes import ChaosGateway, Measures
from chaos.records.checks import check, lost_line
from chaos.records.journal import Hold
from chaos.records.reconciliation import Reconciliation
from chaos.table import Row, show

_GROWTH = 1.15  # of a quiet process's memory, from the warm one's to that at the end
_MOST_FAULTS = 40  # that are printed


@dataclass
class ChaosResult:
    """Holds rows and faults: one sentence for each thing that is wrong; a good run has none."""

    rows: list[Row] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def add(self, name: str, count: str, found: str, faults: Iterable[str] = ()) -> None:
        """Add a row, and what is wrong with it."""
        wrong = list(faults)
        self.rows.append(Row(name, count, found, not wrong))
        self.faults += wrong

    def __iadd__(self, other: ChaosResult) -> Self:
        self.rows += other.rows
        self.faults += other.faults
        return self

    def named(self, part: str) -> ChaosResult:
        """Return the same as a part of a larger run."""
        rows = [replace(row, name=f"{part} {row.name}") for row in self.rows]
        return ChaosResult(rows, [f"{part}: {fault}" for fault in self.faults])

    def report(self) -> int:
        """Print it; the exit status."""
        print(show(self.rows))
        for fault in self.faults[:_MOST_FAULTS]:
            print(f"WRONG {fault}", file=sys.stderr)
        if more := self.faults[_MOST_FAULTS:]:
            print(f"WRONG and {len(more)} more", file=sys.stderr)
        return 1 if self.faults else 0


def of_records(records: Reconciliation) -> ChaosResult:
    """Return the requests by kind, and whether all records agree."""
    result = ChaosResult()
    wrong = {
        tag: [f"{tag} ({entry}): {fault}" for fault in found]
        for tag, entry in records.entries.items()
        if (found := check(entry))
    }
    result.add("requests", str(len(records.entries)), _counted(_kinds(records)))
    for kind, seen in records.outcomes.items():
        of_kind = [tag for tag in wrong if records.entries[tag].outcome.request.kind == kind]
        faults = [fault for tag in of_kind for fault in wrong[tag]]
        result.add(f"  {kind}", str(seen.total()), _counted(seen), faults)
    entries = records.entries.values()
    lost = sum(not entry.lines and lost_line(entry) for entry in entries)
    count = len(records.faults) + sum(map(len, wrong.values()))
    verdict = (
        f"{count} do not agree" if count else "client, arrivals, log, ledger, proxy, emulator agree"
    )
    result.add("books", str(len(entries)), verdict, records.faults)
    result.rows[-1] = Row("books", str(len(entries)), verdict, not count)
    arrived = sum(map(bool, (entry.arrivals for entry in entries)))
    lines = sum(len(entry.lines) for entry in entries)
    result.add("log lines", str(lines), f"of {arrived} arrivals; {lost} died in kills")
    result += _ledger(records)
    result += _sessions(records)
    asked = sum(len(entry.exchanges) for entry in entries)
    result.add("upstream calls", str(asked), f"{sum(len(e.calls) for e in entries)} arrived there")
    return result


def _ledger(records: Reconciliation) -> ChaosResult:
    """The rows, the sums by day and the counters of the limits are the same."""
    result = ChaosResult()
    books = records.ledger
    crashed = sum(row["ended"] == "crashed" for found in books.rows.values() for row in found)
    count = sum(map(len, books.rows.values()))
    counted = books.counted()
    found = (
        f"rows = sums by day = counters: {counted['requests_per_month']} requests, "
        f"{counted['tokens_per_month']} tokens; {crashed} crashed"
    )
    faults = books.differences()
    result.add("ledger", str(count), "does not agree" if faults else found, faults)
    return result


def _sessions(records: Reconciliation) -> ChaosResult:
    """No more logins than accounts and ends of their processes want, no more refreshes than
    tokens were refused."""
    result = ChaosResult()
    logins = [e for e in records.others if e.target.startswith("/codeuser/auth/login")]
    refreshes = [e for e in records.others if e.target.startswith("/codeuser/auth/refresh")]
    refused = sum(e.status == 401 for entry in records.entries.values() for e in entry.exchanges)
    users = {e.user for entry in records.entries.values() for e in entry.exchanges}
    faults = []
    if (found := sum(not e.lost for e in logins)) > len(users) * (1 + records.kills):
        faults.append(f"{found} logins for {len(users)} accounts")
    if (found := sum(not e.lost for e in refreshes)) > refused:
        faults.append(f"{found} refreshes for {refused} refused tokens")
    finding = f"{len(refreshes)} refreshes for {refused} refused tokens"
    result.add("logins", str(len(logins)), finding, faults)
    return result


def _kinds(records: Reconciliation) -> Counter[str]:
    seen: Counter[str] = Counter()
    for counts in records.outcomes.values():
        seen.update(counts)
    return seen


def _counted(seen: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in seen.most_common())


def count_faults(fault_counts: Counter[str], wanted: Iterable[str]) -> ChaosResult:
    """Count how often each fault happened; one that never did was not tested."""
    result = ChaosResult()
    missing = [f"the fault {kind!r} never came true" for kind in wanted if not fault_counts[kind]]
    result.add("faults", str(fault_counts.total()), _counted(fault_counts), missing)
    return result


def of_hold(hold: Hold | None, records: Reconciliation) -> ChaosResult:
    """Return the longest hold of the event loop, and the kind of the request that was served."""
    result = ChaosResult()
    if hold is None:
        result.add("longest hold", "-", "none was seen", ["the event loop was not watched"])
        return result
    entry = records.entries.get(hold.tag)
    kind = "no request began or ended" if entry is None else entry.outcome.request.kind
    result.add("longest hold", f"{hold.milliseconds:.0f} ms", kind)
    return result


def exits(gateway: ChaosGateway) -> ChaosResult:
    """Check the exit statuses."""
    result = ChaosResult()
    statuses = ", ".join(map(str, gateway.statuses))
    well = not any(gateway.statuses)
    faults = [] if well else [f"exit statuses on SIGTERM: {statuses}"]
    result.add("exits", str(len(gateway.statuses)), f"on SIGTERM: {statuses}", faults)
    return result


def compared(before: Measures, after: Measures, *, memory: bool) -> ChaosResult:
    """Compare an idle process before and after the load.

    memory: whether the memory of the idle process counts.
    """
    result = ChaosResult()
    result.add(*_more("descriptors", before.descriptors, after.descriptors))
    result.add(*_tasks(before.tasks, after.tasks))
    result.add(*_more("slots in use", 0, after.slots + after.queued))
    if memory:
        start, end = (round(measures.memory / 1e6, 1) for measures in (before, after))
        result.add(*_more("memory, MB", start, end, start * _GROWTH))
    return result


_Finding = tuple[str, str, str, list[str]]


def _tasks(before: dict[str, int], after: dict[str, int]) -> _Finding:
    more = {name: n - before.get(name, 0) for name, n in after.items() if n > before.get(name, 0)}
    start, end = sum(before.values()), sum(after.values())
    found = f"{start} before" + (f"; more: {more}" if more else "")
    return "tasks", str(end), found, [f"tasks: {end}, {found}"] if more else []


def _more(name: str, start: float, end: float, most: float | None = None) -> _Finding:
    good = end <= (start if most is None else most)
    return (
        name,
        str(end),
        f"{start} before",
        [] if good else [f"{name}: {start} before, {end} after"],
    )
