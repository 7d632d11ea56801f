"""Checks what must be true of one request: one sentence for each thing that is not.

Every exception needs a cause in a record: a fault that happened, a restart, a kill.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from chaos.plan import PlannedRequest
from chaos.records.exchange import ChaosExchange
from chaos.records.reconciliation import Entry

LOG_LAG = 1.0  # seconds by which a line may be behind; it is lost when the process is killed
_CLOSE_LAG = 1.5  # seconds until the emulator knows that nobody listens any more
_LONG_WAIT = 3000  # milliseconds in the queue, of the 4000 that a first piece may take
_HASTE = 0.2  # seconds by which an end may be early
_EARLY = 1.0  # seconds in which a client may be gone before its request arrived
_CALLS = frozenset({"tools", "schema"})  # kinds whose text is the arguments of a call

# Codes of errors that Fitten and the way to it can cause.
_UPSTREAM = frozenset(
    {"upstream_error", "upstream_timeout", "upstream_truncated", "upstream_invalid_response"}
)
_NO_ACCOUNT = frozenset({"upstream_rate_limited", "no_account_available"})
# A refusal with one of these had no effect, so that another account may be asked.
_ELSEWHERE = frozenset({403, 429, 502, 503, 504})


def check(entry: Entry) -> list[str]:
    """Return what is wrong with a request."""
    return [
        *entry.outcome.faults,
        *_arrival(entry),
        *_outcome(entry),
        *_text(entry),
        *_line(entry),
        *_row(entry),
        *_exchanges(entry),
        *_calls(entry),
    ]


def lost_line(entry: Entry) -> bool:
    """Return whether its log line may be lost: a kill leaves no time to write."""
    kill, arrival = entry.kill, entry.arrivals[0] if entry.arrivals else None
    if kill is None or arrival is None:
        return False
    ended = entry.outcome.ended if arrival.ended is None else arrival.ended
    return ended > kill.begin - LOG_LAG


def _arrival(entry: Entry) -> Iterator[str]:
    outcome = entry.outcome
    away = entry.met("restart", "kill")
    if len(entry.arrivals) > 1:
        yield f"it arrived {len(entry.arrivals)} times"
    if any(arrival.ended is None for arrival in entry.arrivals) and not lost_line(entry):
        yield "the gateway never was done with it"
    if not entry.arrivals:
        early = outcome.kind == "left" and (outcome.ended - outcome.began < _EARLY or away)
        turned_away = (outcome.kind, outcome.code) == ("error status", "draining")
        unheard = outcome.kind in ("refused", "no answer")
        if not (early or turned_away or unheard):
            yield "it has an outcome, but never arrived"
        if entry.exchanges:
            yield "Fitten was asked for it, but it never arrived"
    elif outcome.kind == "refused":
        yield "refused, but it arrived"


def _outcome(entry: Entry) -> Iterator[str]:
    """Every outcome but a whole answer needs a cause."""
    outcome, trouble = entry.outcome, entry.outcome.request.trouble
    killed = entry.kill is not None and entry.met("kill")
    match outcome.kind:
        case "stuck":
            yield "it never ended"
        case "refused" if not entry.met("restart", "kill"):
            yield "no connection, though nothing happened to the gateway"
        case "no answer" if entry.arrivals and not killed:
            yield "no answer, though it had arrived"
        case "no answer" if not entry.met("restart", "kill"):
            yield "no answer, though nothing happened to the gateway"
        case "broken" if not killed:
            yield "the answer broke off without a word"
        case "complete" if trouble.breaks and _happened(entry):
            yield "a whole answer, though the upstream's was broken"
        case "error frame" | "error status":
            if not _caused(entry):
                yield "an error without a cause"


def _happened(entry: Entry) -> bool:
    """Whether the trouble that it was to meet has come."""
    if entry.outcome.request.trouble.fault is None:
        return True
    return any(exchange.harmed for exchange in entry.exchanges)


def _caused(entry: Entry) -> bool:
    code, trouble = entry.outcome.code, entry.outcome.request.trouble
    if code == "draining":
        restarts = (window for window in entry.windows if window.kind == "restart")
        return any(entry.outcome.ended > w.begin + w.grace - _HASTE for w in restarts)
    if code == "server_is_overloaded":
        return entry.out > 0  # the others had its load to bear
    if code in _NO_ACCOUNT:
        return entry.out == 1 or (code == "upstream_rate_limited" and "429" in trouble.marker)
    if code not in _UPSTREAM:
        return False
    queued = any(line.get("queued_ms", 0) > _LONG_WAIT for line in entry.lines)
    if code == "upstream_timeout" and queued and entry.out > 0:
        return True  # its slot came when `first_piece` was nearly over
    if trouble.breaks or (trouble.marker and not trouble.soft):
        return True
    # A repeat can be refused as well when the first try met a connection that was just ended.
    meant = not trouble.soft or entry.met("idle")
    return meant and any(exchange.harmed or exchange.dropped for exchange in entry.exchanges)


def _text(entry: Entry) -> Iterator[str]:
    """Nothing is invented, and of a whole answer nothing is missing."""
    outcome, wanted = entry.outcome, entry.outcome.request.expected
    if wanted is None:
        return
    if outcome.kind == "complete":
        if not _same(outcome.request.kind, outcome.text, wanted):
            yield f"the text is {_clipped(outcome.text)}, not {_clipped(wanted)}"
    elif outcome.request.kind not in _CALLS and not _may_come(outcome.request).startswith(
        outcome.text
    ):
        yield f"the text is {_clipped(outcome.text)}, which is no beginning of {_clipped(wanted)}"


def _may_come(request: PlannedRequest) -> str:
    """Return the longest text that a client may have got before its answer broke off.

    If that happens within what may become the stop string, this is text, and is not lost.
    """
    stop = request.body["stop"][0][:-1] if request.cut else ""
    return f"{request.expected}{stop}"


def _clipped(text: str) -> str:
    return repr(text if len(text) <= 1000 else f"{text[:500]} ... {text[-500:]}")


def _same(kind: str, text: str, expected: str) -> bool:
    if kind not in _CALLS:
        return text == expected
    try:
        return bool(json.loads(text) == json.loads(expected))
    except ValueError:
        return False


def _line(entry: Entry) -> Iterator[str]:
    """One log line for each arrival, and it says what the client saw."""
    if len(entry.lines) != len(entry.arrivals):
        if not (lost_line(entry) and not entry.lines):
            yield f"{len(entry.lines)} log lines for {len(entry.arrivals)} arrivals"
    elif entry.lines:
        yield from _told(entry, entry.lines[0])


def _told(entry: Entry, line: dict[str, Any]) -> Iterator[str]:
    outcome = entry.outcome
    end, status, size = line["end"], line["status"], line["bytes"]
    said = f"the log says {status} {end}"
    match outcome.kind:
        case "complete" if (end, status) != ("complete", 200):
            yield said
        case "error status" if (end, status) != (outcome.code, outcome.status):
            yield said
        case "error frame" if (end, status) != (outcome.code, 200):
            yield said
    if outcome.kind in ("complete", "error frame") and size != outcome.size:
        yield f"the client had {outcome.size} bytes, the log says {size}"
    if outcome.kind == "complete" and line["finish_reason"] != outcome.finish:
        yield f"the client was told {outcome.finish}, the log says {line['finish_reason']}"
    if entry.exchanges and entry.exchanges[-1].user != f"u_{line['account']}":
        yield f"{entry.exchanges[-1]} was the last, the log says {line['account']}"


def _row(entry: Entry) -> Iterator[str]:
    """One row in the ledger for each arrival, and it says what the log says.

    A kill takes no row. Only of a request that had not been admitted yet, there is none.
    """
    count = len(entry.rows)
    if count != len(entry.arrivals):
        early = entry.kill is not None and lost_line(entry) and not entry.exchanges
        if count or not early:
            yield f"{count} rows for {len(entry.arrivals)} arrivals"
        return
    for row in entry.rows:
        if row["ended"] == "crashed":
            if not (lost_line(entry) and not entry.lines):
                yield "it ended as crashed in the ledger, though its process lived"
        elif entry.lines:
            yield from _recorded(row, entry.lines[0])
        elif entry.outcome.kind == "complete" and row["ended"] != "complete":
            yield f"a whole answer, but the ledger says {row['ended']}"


def _recorded(row: dict[str, Any], line: dict[str, Any]) -> Iterator[str]:
    end = line["end"] if line["end"] == "complete" else line["cause"]
    told = {"ended": end, "status": line["status"], "finish_reason": line["finish_reason"]}
    for name in ("prompt_tokens", "completion_tokens"):
        told[name] = line.get(name) or 0
    for name, value in told.items():
        if row[name] != value:
            yield f"the log has {name} {value}, the ledger {row[name]}"


def _exchanges(entry: Entry) -> Iterator[str]:
    """Each exchange after the first needs one that failed in a way which may be repeated."""
    repeated = False  # whether the one before was a repeat on another connection
    for before, after in zip(entry.exchanges, entry.exchanges[1:], strict=False):
        again = before.lost and before.user == after.user and not repeated
        elsewhere = before.status in _ELSEWHERE and before.user != after.user
        if not (again or elsewhere or before.status == 401):
            yield f"asked again, {after}, after {before}"
        repeated = again
    if entry.outcome.kind == "complete" and not entry.exchanges:
        yield "a whole answer, but Fitten was not asked"


def _calls(entry: Entry) -> Iterator[str]:
    outcome = entry.outcome
    for call in entry.calls:
        ended = call["done_at"] or call["closed_at"]
        if ended is None:
            yield "a call at the emulator is still open"
        elif ended > outcome.ended + _CLOSE_LAG:
            yield f"its call went on for {ended - outcome.ended:.1f} s"
    if outcome.kind == "complete" and entry.exchanges:
        yield from _whole(entry, entry.exchanges[-1])


def _whole(entry: Entry, last: ChaosExchange) -> Iterator[str]:
    if last.status != 200:
        yield f"a whole answer, but the last exchange was {last}"
    elif not (last.harmed or entry.outcome.request.cut or all(c["done"] for c in entry.calls[-1:])):
        yield "a whole answer, but the emulator's was not sent to its end"
