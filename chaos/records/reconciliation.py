"""Reconciles what the client saw with the log line and the other records, one to one.

There are six records, each from another source: the client's (`load`), the gateway's arrivals
(`chaos.middleware`), its log, its ledger, the proxy's exchanges and the emulator's calls.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos.load import ChatOutcome
from chaos.processes import RestartWindow
from chaos.records.exchange import ANSWERS, HEADER, ChaosExchange
from chaos.records.journal import Arrival
from chaos.records.ledger import LedgerBooks
from chaos.records.outages import Outages

_CLOCK = 0.2  # seconds by which our own clock may be off
_LOUD = ("error", "critical")


@dataclass
class Entry:
    """Holds what all records say of one request. windows: what happened to the gateway meanwhile.

    kill: the end of the process at which it had arrived, at whatever time. out: the largest share
    of the accounts that was out of use at once meanwhile.
    """

    outcome: ChatOutcome
    arrivals: list[Arrival] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    exchanges: list[ChaosExchange] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    windows: list[RestartWindow] = field(default_factory=list)
    kill: RestartWindow | None = None
    out: float = 0.0

    def met(self, *kinds: str) -> bool:
        """Return whether one of these kinds happened to the gateway while the request ran."""
        return any(window.kind in kinds for window in self.windows)

    def __str__(self) -> str:
        outcome, request = self.outcome, self.outcome.request
        seen = " ".join(filter(None, (outcome.kind, str(outcome.status), outcome.code)))
        trouble = request.trouble
        met = "+".join(window.kind for window in self.windows)
        passed = " ".join(map(str, self.exchanges))
        parts = (request.kind, trouble.fault, trouble.marker, seen, met, passed)
        return ", ".join(str(part) for part in parts if part)


@dataclass(frozen=True)
class Sources:
    """Holds the records as they were written. outages: where accounts may be out of use."""

    outcomes: Sequence[ChatOutcome]
    arrivals: Mapping[str, list[Arrival]]
    lines: Sequence[dict[str, Any]]
    exchanges: Sequence[ChaosExchange]
    calls: Sequence[dict[str, Any]]
    ledger: LedgerBooks
    windows: Sequence[RestartWindow] = ()
    outages: Outages | None = None


class Reconciliation:
    """Holds every request of a run by its tag, with what each record says of it.

    faults: one sentence for each thing in a record that belongs to no request. others: exchanges
    for no request, logins and the like. kills: of processes.
    """

    def __init__(self, sources: Sources) -> None:
        self.faults: list[str] = []
        self.entries: dict[str, Entry] = {}
        for outcome in sources.outcomes:
            tag = outcome.request.tag
            if tag in self.entries:
                self.faults.append(f"{tag}: the client has two requests of this tag")
            self.entries[tag] = Entry(outcome)
        self._enter_arrivals(sources.arrivals)
        self._enter_lines(sources.lines)
        self.ledger = sources.ledger
        self._enter_rows(sources.ledger.rows)
        self._enter_exchanges(sources.exchanges)
        self._enter_calls(sources.exchanges, sources.calls)
        self.others = [exchange for exchange in sources.exchanges if not exchange.generates]
        kills = {window.pid: window for window in sources.windows if window.kind == "kill"}
        self.kills = len(kills)
        for entry in self.entries.values():
            entry.kill = next((kills[a.pid] for a in entry.arrivals if a.pid in kills), None)
            began, ended = entry.outcome.began, entry.outcome.ended
            entry.windows = _meanwhile(entry, sources.windows)
            if sources.outages is not None:
                entry.out = sources.outages.most_out(began, ended)

    @property
    def outcomes(self) -> dict[str, Counter[str]]:
        """Return how many of each kind of request had which outcome."""
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for entry in self.entries.values():
            found[entry.outcome.request.kind][entry.outcome.kind] += 1
        return dict(sorted(found.items()))

    def _enter_arrivals(self, arrivals: Mapping[str, list[Arrival]]) -> None:
        for tag, found in arrivals.items():
            if tag in self.entries:
                self.entries[tag].arrivals = found
            else:
                self.faults.append(f"a request arrived that nobody sent: {tag!r}")

    def _enter_lines(self, lines: Sequence[dict[str, Any]]) -> None:
        for line in lines:
            if line.get("level") in _LOUD or line["event"] in ("bug", "not json", "log_lines_lost"):
                self.faults.append(f"the log has {json.dumps(line)[:1000]}")
            if line["event"] != "request" or line.get("method") == "GET":
                continue
            entry = self.entries.get(line.get("request_id", ""))
            if entry is None:
                self.faults.append(f"the log has a request nobody sent: {line}")
            else:
                entry.lines.append(line)

    def _enter_rows(self, rows: Mapping[str, list[dict[str, Any]]]) -> None:
        for tag, found in rows.items():
            if tag in self.entries:
                self.entries[tag].rows = found
            else:
                self.faults.append(f"the ledger has a request that nobody sent: {tag!r}")

    def _enter_exchanges(self, exchanges: Sequence[ChaosExchange]) -> None:
        for exchange in exchanges:
            if not exchange.generates:
                continue
            entry = self.entries.get(exchange.tag)
            if entry is None:
                self.faults.append(f"Fitten was asked what nobody asked for: {exchange}")
            else:
                entry.exchanges.append(exchange)

    def _enter_calls(
        self, exchanges: Sequence[ChaosExchange], calls: Sequence[dict[str, Any]]
    ) -> None:
        """Each call belongs to the exchange whose number it has, and each of those has one."""
        waiting = {e.number: e for e in exchanges if e.forwarded and e.generates}
        for call in calls:
            if not call["path"].startswith(ANSWERS):
                continue
            number = int(call["headers"].get(HEADER, -1))
            exchange = waiting.pop(number, None)
            entry = self.entries.get(exchange.tag) if exchange else None
            if exchange is None or entry is None:
                self.faults.append(f"the emulator had a call that did not pass: {number}")
                continue
            entry.calls.append(call)
            if exchange.status and exchange.status != call["status"]:
                self.faults.append(f"{exchange}: the emulator says {call['status']}")
        self.faults += [f"{e} never reached the emulator" for e in waiting.values()]


def _meanwhile(entry: Entry, windows: Sequence[RestartWindow]) -> list[RestartWindow]:
    """What befell the gateway between a request's beginning and its end in any record."""
    ends = [arrival.ended for arrival in entry.arrivals if arrival.ended is not None]
    begin, end = entry.outcome.began - _CLOCK, max([entry.outcome.ended, *ends]) + _CLOCK
    return [window for window in windows if begin <= window.end and window.begin <= end]
