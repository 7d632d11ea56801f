"""Every fault of the upstream's, and what a caller is told at each moment.

The tests carry this table out, and `docs/errors.md` is written from it.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.faults.connections import TLS, Kind
from tests.faults.plays import (
    BEAT,
    BODIES,
    FRAMINGS,
    HTML,
    LA,
    Play,
    bare,
    cut,
    flood,
    gzip,
    instead,
    redirect,
    said,
    status,
    then,
)
from tests.faults.upstream import Moment

MOMENTS: tuple[Moment, ...] = (
    "login",
    "refresh",
    "models",
    "version",
    "completion",
    "before",
    "second",
    "after",
)


@dataclass(frozen=True)
class Told:
    """An error: status and code, whether the SDKs are asked to repeat, and how often the
    upstream was asked. After the first piece a stream has a frame in place of the status."""

    status: int
    code: str
    again: bool = True
    calls: int = 1


SERVED = "served"
Outcome = Told | str | None

BROKEN = Told(502, "upstream_error")
TWICE = Told(502, "upstream_error", calls=2)
REFUSED = Told(502, "upstream_error", again=False)
INVALID = Told(502, "upstream_invalid_response")
CUT = Told(502, "upstream_truncated")
SLOW = Told(504, "upstream_timeout")
LONG = Told(502, "upstream_too_long", again=False)
LOOP = Told(502, "upstream_repetition", again=False)
LIMITED = Told(429, "upstream_rate_limited")
PAUSED = Told(503, "no_account_available")
NO_ACCOUNT = Told(503, "no_account_available", again=False)
NO_SESSION = Told(503, "no_account_available", again=False, calls=3)


@dataclass(frozen=True)
class FaultCell:
    """A fault. play: given what of the body goes out well and what would follow, the steps;
    a word for faults of the connection, which `connections` makes.

    elsewhere: whether a chat is given to another account, where there is one.
    lasts: whether nothing but a time limit of ours ends it.
    """

    name: str
    play: Play | Kind
    login: Outcome
    completion: Outcome
    before: Outcome
    after: Outcome = None
    refresh: Outcome = SERVED
    models: Outcome = SERVED
    elsewhere: bool = False
    lasts: bool = False

    def outcome(self, moment: Moment) -> Outcome:
        """What happens then; None where this fault cannot."""
        if moment == "version":
            return self.completion
        if moment == "second":
            if self.play == "lookup" or self.play in TLS:
                return None  # what happens to one call happens to the next
            return SERVED if self.elsewhere else self.before
        if self.completion is None and moment in ("refresh", "models"):
            return None
        outcome: Outcome = getattr(self, moment)
        return outcome


def next_outcome(moment: Moment, outcome: Told) -> Told | str:
    """What the next caller is told, when the fault has passed; served by another account, if
    there is one."""
    if moment == "second":
        return SERVED
    if outcome.code in ("no_account_available", "upstream_rate_limited"):
        return outcome
    return PAUSED if moment in ("login", "refresh") else SERVED


_ROADS: list[tuple[str, Kind, Told]] = [
    ("connection refused", "refused", BROKEN),
    ("host name not found", "dns", BROKEN),
    ("TLS handshake fails", "tls", BROKEN),
    ("TLS certificate not trusted", "untrusted", BROKEN),
    ("look-up of the host name hangs", "lookup", SLOW),
    ("connection hangs", "hang", SLOW),
    ("TLS handshake hangs", "handshake", SLOW),
]
CONNECTIONS = [
    FaultCell(name, kind, told, told, told, refresh=told, elsewhere=True, lasts=told == SLOW)
    for name, kind, told in _ROADS
]
HEADS = [
    FaultCell("reset before headers", bare("reset"), TWICE, TWICE, TWICE),
    FaultCell("closed before headers", bare("fin"), TWICE, TWICE, TWICE),
    FaultCell(
        "reset in the headers", bare(b"HTTP/1.1 200 OK\r\nCont", "reset"), TWICE, TWICE, TWICE
    ),
    FaultCell("not HTTP", bare(b"\x00\x01 made up\r\n\r\n", "fin"), BROKEN, BROKEN, BROKEN),
    FaultCell("silent before headers", bare("stall"), SLOW, SLOW, SLOW, lasts=True),
]
CUTS = [
    FaultCell(
        f"{'closed' if how == 'fin' else how} after {place}, {FRAMINGS[framing]}",
        cut(framing, how, place),
        INVALID if framing == "close" else BROKEN,
        INVALID if framing == "close" else BROKEN,
        CUT,
        CUT,
    )
    for framing in ("chunked", "length", "close")
    for how in ("fin", "reset")
    for place in ("no byte", "one byte", "half a line")
]
SILENCES = [
    FaultCell("stall", then("stall"), SLOW, SLOW, SLOW, SLOW, lasts=True),
    FaultCell("endless newlines", then("forever:\n"), SLOW, SLOW, SLOW, SLOW, lasts=True),
    FaultCell("endless heartbeats", then("forever:" + BEAT), None, None, SLOW, SLOW, lasts=True),
]
BODIES_200 = [
    FaultCell("HTML page with 200", instead(HTML), INVALID, INVALID, INVALID, CUT),
    FaultCell("error object with 200", said(500), BROKEN, BROKEN, BROKEN, BROKEN),
    FaultCell(
        "detail with 200", instead(b'{"detail": "made up"}\n'), BROKEN, BROKEN, BROKEN, BROKEN
    ),
    FaultCell("error object 401 with 200", said(401), NO_ACCOUNT, NO_SESSION, REFUSED, REFUSED),
    FaultCell("error object 429 with 200", said(429), LIMITED, LIMITED, LIMITED, LIMITED),
    FaultCell("empty body with 200", instead(b""), INVALID, INVALID, INVALID),
    FaultCell("heartbeats only", instead(BEAT.encode() * 3), None, None, INVALID),
    FaultCell("gzip that ends within a line", gzip(True), INVALID, INVALID, CUT, CUT),
    FaultCell("gzip that ends after a line", gzip(False), None, None, None, CUT),
    FaultCell("endless repetition", then("forever:" + LA), None, None, None, SLOW, lasts=True),
    FaultCell("endless quick repetition", then("forever:" + LA * 256), None, None, None, LOOP),
    FaultCell("endless flood", flood, None, None, None, LONG),
]
REDIRECTS = [
    FaultCell(f"redirect {number} to another host", redirect(number), BROKEN, REFUSED, REFUSED)
    for number in (301, 302, 307)
]


def _by_status(number: int) -> tuple[Told, Told]:
    """What a status means at the login and at the other calls."""
    special = {
        401: (NO_ACCOUNT, NO_SESSION),
        403: (NO_ACCOUNT, REFUSED),
        429: (LIMITED, LIMITED),
        504: (SLOW, SLOW),
    }
    return special.get(number) or (BROKEN, REFUSED if number < 500 else BROKEN)


STATUSES = [
    FaultCell(
        f"{number}, {body} body",
        status(number, body),
        login,
        other,
        other,
        elsewhere=number in (401, 403, 429, 502, 503, 504),
    )
    for number in (401, 403, 404, 413, 422, 429, 500, 502, 503, 504)
    for body in BODIES
    for login, other in [_by_status(number)]
]

SECTIONS = {
    "The connection": CONNECTIONS,
    "Before and in the headers": HEADS,
    "The answer breaks off": CUTS,
    "Silence": SILENCES,
    "Invalid answers": BODIES_200,
    "Redirects": REDIRECTS,
    "Statuses": STATUSES,
}
CELLS = [
    (fault, moment, outcome)
    for faults in SECTIONS.values()
    for fault in faults
    for moment in MOMENTS
    if (outcome := fault.outcome(moment)) is not None
]
