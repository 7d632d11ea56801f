"""The reconciliation: what the client saw, the log line and the emulator's book, one to one."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos.load import Outcome
from chaos.processes import Window

_TAG = re.compile(r"tag=([a-z0-9-]+)")
_LOG_LAG = 1.0  # seconds by which a line may be behind; it is lost when the process is killed
_CLOCK = 0.2  # seconds by which our own clock may be off


@dataclass
class Entry:
    """All that is known of one request."""

    outcome: Outcome
    lines: list[dict[str, Any]] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    fired: int = 0
    killed: bool = False
    restarted: bool = False

    @property
    def answers(self) -> list[dict[str, Any]]:
        """The emulator's answers proper: neither refusals nor the errors it was told to make."""
        return [call for call in self.calls if call["status"] == 200]


class Books:
    """Every request of a run, and what does not add up: `faults`, a sentence each."""

    def __init__(
        self,
        outcomes: Sequence[Outcome],
        lines: Sequence[dict[str, Any]],
        calls: Sequence[dict[str, Any]],
        fired: Counter[str],
        windows: Sequence[Window],
    ) -> None:
        self.entries = {outcome.request.tag: Entry(outcome) for outcome in outcomes}
        self.faults: list[str] = []
        self._enter_lines(lines)
        self._enter_calls(calls)
        for tag, entry in self.entries.items():
            entry.fired = fired[tag]
            entry.killed = _touches(entry.outcome, windows, "kill")
            entry.restarted = _touches(entry.outcome, windows, "restart")
            self.faults += [f"{tag} ({_told(entry)}): {fault}" for fault in _check(entry)]

    @property
    def outcomes(self) -> dict[str, Counter[str]]:
        """How many of each kind of request had which outcome."""
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for entry in self.entries.values():
            found[entry.outcome.request.kind][entry.outcome.kind] += 1
        return dict(sorted(found.items()))

    def _enter_lines(self, lines: Sequence[dict[str, Any]]) -> None:
        for line in lines:
            if line.get("level") in ("error", "critical") or line["event"] in ("bug", "not json"):
                self.faults.append(f"the log has {json.dumps(line)[:1000]}")
            if line["event"] != "request":
                continue
            entry = self.entries.get(line.get("request_id", ""))
            if entry is None:
                self.faults.append(f"the log has a request nobody sent: {line}")
            else:
                entry.lines.append(line)

    def _enter_calls(self, calls: Sequence[dict[str, Any]]) -> None:
        for call in calls:
            if not call["path"].startswith(("/codeapi/chat_auth", "/codeapi/completion")):
                continue
            found = _TAG.search(json.dumps(call["body"]))
            entry = self.entries.get(found[1]) if found else None
            if entry is None:
                self.faults.append(f"the emulator had a call nobody asked for: {call['path']}")
            else:
                entry.calls.append(call)


def _check(entry: Entry) -> list[str]:
    return [
        *entry.outcome.faults,
        *_check_outcome(entry),
        *_check_line(entry),
        *_check_calls(entry),
    ]


def _check_outcome(entry: Entry) -> list[str]:
    outcome, request = entry.outcome, entry.outcome.request
    faults = []
    away = entry.killed or entry.restarted
    if outcome.kind == "stuck":
        faults.append("it never ended")
    if outcome.kind in ("refused", "no answer") and not away:
        faults.append("no connection, though nothing happened to the gateway")
    if outcome.kind == "broken" and not entry.killed:
        faults.append("the answer broke off without a word")
    if outcome.kind == "complete":
        if request.breaks and (entry.fired or not request.fault.startswith("fault")):
            faults.append("a whole answer, though the upstream's was broken")
        if request.expected is not None and not _same(request.kind, outcome.text, request.expected):
            faults.append(f"the text is {outcome.text!r}, not {request.expected!r}")
    elif outcome.kind in ("error frame", "error status") and request.soft and not away:
        faults.append("an error without a cause")
    return faults


def _check_line(entry: Entry) -> list[str]:
    outcome, lines = entry.outcome, entry.lines
    if len(lines) > 1:
        return [f"{len(lines)} log lines"]
    if not lines:
        # Who never reached the gateway, and whose line died with it, or was turned away.
        unseen = outcome.kind in ("refused", "no answer") or outcome.code == "draining"
        early = outcome.kind == "left" and not entry.calls  # before the request had arrived
        return [] if unseen or early or entry.killed else ["no log line"]
    (line,) = lines
    end, status = line["end"], line["status"]
    if outcome.kind == "complete" and (end, status) != ("complete", 200):
        return [f"the log says {status} {end}"]
    if outcome.kind == "error status" and (end, status) != (outcome.code, outcome.status):
        return [f"the log says {status} {end}"]
    if outcome.kind == "error frame" and (end, status) != (outcome.code, 200):
        return [f"the log says {status} {end}"]
    return []


def _check_calls(entry: Entry) -> list[str]:
    outcome, request = entry.outcome, entry.outcome.request
    faults = []
    open_calls = [call for call in entry.calls if not call["done"] and call["closed_at"] is None]
    if open_calls:
        faults.append("a call at the emulator is still open")
    if outcome.kind == "complete":
        done = len(entry.answers if request.cut else [c for c in entry.answers if c["done"]])
        if not 0 < done <= 1 + entry.fired:
            faults.append(f"{done} upstream answers, {entry.fired} of them broken by the proxy")
    if outcome.kind == "refused" and entry.calls:
        faults.append("refused, but the emulator was asked")
    return faults


def _same(kind: str, text: str, expected: str) -> bool:
    if kind != "tools":
        return text == expected
    try:
        return bool(json.loads(text) == json.loads(expected))
    except ValueError:
        return False


def _touches(outcome: Outcome, windows: Sequence[Window], kind: str) -> bool:
    lag = _LOG_LAG if kind == "kill" else _CLOCK
    return any(
        outcome.began - _CLOCK <= window.end and window.begin <= outcome.ended + lag
        for window in windows
        if window.kind == kind
    )


def _told(entry: Entry) -> str:
    outcome = entry.outcome
    seen = " ".join(filter(None, (outcome.kind, str(outcome.status), outcome.code)))
    request = outcome.request
    return ", ".join(filter(None, (request.kind, request.fault, seen)))
