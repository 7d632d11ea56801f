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
from chaos.records.outages import Outages
from chaos.records.reconciliation import Reconciliation, Sources

TAG = "made-up-1"
PID = 100
TEXT = "the quick fox"
CHAT = "/codeapi/chat_auth?ft_token=u_first_user"


def request(kind: str = "stream", trouble: Trouble = NONE, **more: Any) -> PlannedRequest:
    expected = None if trouble.marker else TEXT
    path = "/v1/chat/completions"
    return PlannedRequest(TAG, 0.0, kind, path, {}, trouble, more.pop("expected", expected), **more)


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
        "bytes": seen.size,
        "finish_reason": seen.finish,
        "account": "first_user",
    } | more


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
        return Reconciliation(
            Sources(
                outcomes=[self.outcome, *self.more_outcomes],
                arrivals={TAG: arrivals} if arrivals else {},
                lines=[line(self.outcome)] if self.lines is None else self.lines,
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
