"""Made-up records of a run: one request, on which all records agree."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from chaos.fault import ChaosFault
from chaos.fault_schedule import NONE, Trouble
from chaos.load import ChatOutcome, Kind
from chaos.plan import PlannedRequest
from chaos.processes import RestartWindow
from chaos.records.checks import check
from chaos.records.exchange import HEADER, ChaosExchange
from chaos.records.journal import Arrival
from chaos.records.ledger import LedgerBooks
from chaos.records.outages import Outages
from chaos.records.reconciliation import Reconciliation, Sources

TAG = "made-up-1"
PID = 100
TEXT = "the quick fox"
CHAT = "/codeapi/chat_auth?ft_token=u_first_user"


def request(kind: str = "stream", trouble: Trouble = NONE, **more: Any) -> PlannedRequest:
    expected = None if trouble.marker else TEXT
    path = "/v1/chat/completions"
    body = {"stop": [" 12"]} if more.get("cut") else {}
    expected = more.pop("expected", expected)
    return PlannedRequest(TAG, 0.0, kind, path, body, trouble, expected, **more)


def outcome(kind: Kind = "complete", of: PlannedRequest | None = None, **more: Any) -> ChatOutcome:
    """Return an outcome; by default of a request from second 10 to second 11."""
    usual: dict[str, Any] = {
        "complete": {"status": 200, "text": TEXT, "size": 300, "finish": "stop"},
        "error frame": {"status": 200, "code": "upstream_truncated", "text": "the", "size": 300},
        "error status": {"status": 502, "code": "upstream_error"},
        "left": {"status": 200, "text": "the"},
    }.get(kind, {})
    return ChatOutcome(
        of or request(), **{"began": 10.0, "ended": 11.0, "kind": kind} | usual | more
    )


def line(seen: ChatOutcome, **more: Any) -> dict[str, Any]:
    """Return what the log should say of an outcome."""
    end = {"complete": "complete", "left": "client_closed_request"}.get(seen.kind, seen.code)
    return {
        "event": "request",
        "level": "info",
        "request_id": TAG,
        "status": seen.status,
        "end": end,
        "cause": None if end == "complete" else end,
        "prompt_tokens": 20,
        "completion_tokens": 3,
        "bytes": seen.size,
        "finish_reason": seen.finish,
        "account": "first_user",
    } | more


def row(of: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return what the ledger should say of a request that has this line."""
    return {
        "ended": of["end"] if of["end"] == "complete" else of["cause"],
        "status": of["status"],
        "finish_reason": of["finish_reason"],
        "prompt_tokens": of["prompt_tokens"],
        "completion_tokens": of["completion_tokens"],
    } | more


CRASHED: dict[str, Any] = {"ended": "crashed", "prompt_tokens": 7, "completion_tokens": 0}


def ledger(rows: list[dict[str, Any]], **more: Any) -> LedgerBooks:
    """Return a ledger with these rows, whose sums and counters agree."""
    prompt = sum(found["prompt_tokens"] for found in rows)
    completion = sum(found["completion_tokens"] for found in rows)
    sums = {"requests": len(rows), "prompt_tokens": prompt, "completion_tokens": completion}
    counters = {"requests_per_month": len(rows), "tokens_per_month": prompt + completion}
    usual: dict[str, Any] = {"sums": sums, "of_rows": sums, "counters": counters}
    return LedgerBooks({TAG: rows} if rows else {}, **usual | more)


def exchange(number: int = 0, *, status: int = 200, user: str = "u_first_user") -> ChaosExchange:
    target = f"/codeapi/chat_auth?ft_token={user}"
    return ChaosExchange(number, target, TAG, forwarded=True, passed=status, status=status)


def broken_exchange(
    number: int, kind: str, *, status: int = 0, user: str = "u_first_user"
) -> ChaosExchange:
    """Return an exchange that a fault has broken."""
    found = exchange(number, status=status, user=user)
    found.fault, found.happened = ChaosFault(kind, 10, 9), True
    found.forwarded = kind != "refuse"
    return found


def call(number: int = 0, *, status: int = 200, **more: Any) -> dict[str, Any]:
    return {
        "path": "/codeapi/chat_auth",
        "headers": {HEADER: str(number)},
        "status": status,
        "done": True,
        "done_at": None if "closed_at" in more else 11.0,
        "closed_at": None,
    } | more


@dataclass
class MadeExchange:
    """Builds made-up records. What is not given follows from the outcome."""

    outcome: ChatOutcome = field(default_factory=outcome)
    arrivals: list[Arrival] | None = None
    lines: list[dict[str, Any]] | None = None
    rows: list[dict[str, Any]] | None = None
    exchanges: list[ChaosExchange] | None = None
    calls: list[dict[str, Any]] | None = None
    windows: tuple[RestartWindow, ...] = ()
    outages: Outages | None = None
    more_outcomes: tuple[ChatOutcome, ...] = ()

    def records(self) -> Reconciliation:
        exchanges = [exchange()] if self.exchanges is None else self.exchanges
        passed = [
            call(e.number, status=e.status or 200) for e in exchanges if e.forwarded and e.generates
        ]
        arrivals = [Arrival(PID, 10.1, 11.0)] if self.arrivals is None else self.arrivals
        lines = [line(self.outcome)] if self.lines is None else self.lines
        rows = self.rows
        if rows is None:  # one for each arrival, and it says what the first line of the log says
            (said,) = lines[:1] or [line(self.outcome)]
            rows = [row(said) if said.get("end") else CRASHED] * len(arrivals)
        return Reconciliation(
            Sources(
                outcomes=[self.outcome, *self.more_outcomes],
                arrivals={TAG: arrivals} if arrivals else {},
                lines=lines,
                ledger=ledger(rows),
                exchanges=exchanges,
                calls=passed if self.calls is None else self.calls,
                windows=self.windows,
                outages=self.outages,
            )
        )

    def faults(self) -> list[str]:
        """Return everything that is wrong with the records."""
        records = self.records()
        return [*records.faults, *check(records.entries[TAG])]
