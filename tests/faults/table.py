"""Lists every fault of the upstream, and what a client gets at each moment.

The tests check every cell of this table, and `docs/errors.md` is written from it.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.faults.causes import ErrorRow, row_of
from tests.faults.connections import TLS, Kind
from tests.faults.responses import (
    BEAT,
    BODIES,
    FRAMINGS,
    HTML,
    LA,
    Response,
    cut,
    error_object,
    flood,
    gzip,
    instead,
    only,
    redirect,
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
class ErrorOutcome:
    """An error: code, whether the SDKs are to repeat, and the number of upstream calls.

    `causes` has how each dialect shows it.
    """

    code: str
    retryable: bool = True
    calls: int = 1

    @property
    def row(self) -> ErrorRow:
        """How the error is shown."""
        return row_of(self.code, retryable=self.retryable)


SERVED = "served"
Outcome = ErrorOutcome | str | None

BROKEN = ErrorOutcome("upstream_error")
TWICE = ErrorOutcome("upstream_error", calls=2)
REFUSED = ErrorOutcome("upstream_error", retryable=False)
INVALID = ErrorOutcome("upstream_invalid_response")
CUT = ErrorOutcome("upstream_truncated")
SLOW = ErrorOutcome("upstream_timeout")
LONG = ErrorOutcome("upstream_too_long", retryable=False)
LOOP = ErrorOutcome("upstream_repetition", retryable=False)
LIMITED = ErrorOutcome("upstream_rate_limited")
PAUSED = ErrorOutcome("no_account_available")
NO_ACCOUNT = ErrorOutcome("no_account_available", retryable=False)
NO_SESSION = ErrorOutcome("no_account_available", retryable=False, calls=3)


@dataclass(frozen=True)
class FaultCell:
    """A fault and its outcome at each moment.

    cause: a response (see `responses`), or the kind of a connection fault (see `connections`).
    elsewhere: whether a chat is given to another account, where there is one.
    lasts: whether only a time limit of the gateway ends it.
    """

    name: str
    cause: Response | Kind
    login: Outcome
    completion: Outcome
    before: Outcome
    after: Outcome = None
    refresh: Outcome = SERVED
    models: Outcome = SERVED
    elsewhere: bool = False
    lasts: bool = False

    def outcome(self, moment: Moment) -> Outcome:
        """Return what happens at this moment; None where this fault cannot happen."""
        if moment == "version":
            return self.completion
        if moment == "second":
            if self.cause == "lookup" or self.cause in TLS:
                return None  # what happens to one call happens to the next
            return SERVED if self.elsewhere else self.before
        if self.completion is None and moment in ("refresh", "models"):
            return None
        outcome: Outcome = getattr(self, moment)
        return outcome


def next_outcome(moment: Moment, outcome: ErrorOutcome) -> ErrorOutcome | str:
    """Return what the next client gets when the fault has passed.

    Another account serves it, if there is one.
    """
    if moment == "second":
        return SERVED
    if outcome.code in ("no_account_available", "upstream_rate_limited"):
        return outcome
    return PAUSED if moment in ("login", "refresh") else SERVED


_CONNECTION_FAULTS: list[tuple[str, Kind, ErrorOutcome]] = [
    ("connection refused", "refused", BROKEN),
    ("host name not found", "dns", BROKEN),
    ("TLS handshake fails", "tls", BROKEN),
    ("TLS certificate not trusted", "untrusted", BROKEN),
    ("look-up of the host name hangs", "lookup", SLOW),
    ("connection hangs", "hang", SLOW),
    ("TLS handshake hangs", "handshake", SLOW),
]
CONNECTIONS = [
    FaultCell(
        name,
        kind,
        outcome,
        outcome,
        outcome,
        refresh=outcome,
        elsewhere=True,
        lasts=outcome == SLOW,
    )
    for name, kind, outcome in _CONNECTION_FAULTS
]
HEADS = [
    FaultCell("reset before headers", only("reset"), TWICE, TWICE, TWICE),
    FaultCell("closed before headers", only("fin"), TWICE, TWICE, TWICE),
    FaultCell(
        "reset in the headers", only(b"HTTP/1.1 200 OK\r\nCont", "reset"), TWICE, TWICE, TWICE
    ),
    FaultCell("not HTTP", only(b"\x00\x01 made up\r\n\r\n", "fin"), BROKEN, BROKEN, BROKEN),
    FaultCell("silent before headers", only("stall"), SLOW, SLOW, SLOW, lasts=True),
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
    FaultCell("error object with 200", error_object(500), BROKEN, BROKEN, BROKEN, BROKEN),
    FaultCell(
        "detail with 200", instead(b'{"detail": "made up"}\n'), BROKEN, BROKEN, BROKEN, BROKEN
    ),
    FaultCell(
        "error object 401 with 200", error_object(401), NO_ACCOUNT, NO_SESSION, REFUSED, REFUSED
    ),
    FaultCell("error object 429 with 200", error_object(429), LIMITED, LIMITED, LIMITED, LIMITED),
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


def _by_status(number: int) -> tuple[ErrorOutcome, ErrorOutcome]:
    """Return what a status means at the login and at the other calls."""
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
