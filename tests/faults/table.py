"""Every fault of the upstream's, and what a caller is told at each moment.

The tests carry this table out, and `docs/errors.md` is written from it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.faults.upstream import Moment, Step

MOMENTS: tuple[Moment, ...] = (
    "login",
    "refresh",
    "models",
    "version",
    "completion",
    "before",
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
NO_ACCOUNT = Told(503, "no_account_available", again=False)


@dataclass(frozen=True)
class Fault:
    """A fault. play: given what of the body goes out well and what would follow, the steps;
    a word for faults of the connection, which `connections` makes."""

    name: str
    play: Callable[[bytes, bytes], Sequence[Step]] | str
    login: Outcome
    completion: Outcome
    before: Outcome
    after: Outcome = None
    refresh: Outcome = SERVED
    models: Outcome = SERVED
    version: Outcome = "as completion"

    def outcome(self, moment: Moment) -> Outcome:
        """What happens then; None where this fault cannot."""
        if moment == "version" and self.version == "as completion":
            return self.completion
        if self.completion is None and moment in ("refresh", "models"):
            return None
        outcome: Outcome = getattr(self, moment)
        return outcome


def head(framing: str, size: int = 0, extra: bytes = b"") -> bytes:
    """The head of a good answer."""
    frame = {
        "chunked": b"Transfer-Encoding: chunked\r\n",
        "length": b"Content-Length: %d\r\n" % size,
        "close": b"Connection: close\r\n",
    }[framing]
    return b"HTTP/1.1 200 OK\r\n" + frame + extra + b"\r\n"


def part(framing: str, data: bytes) -> bytes:
    """A part of the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if framing == "chunked" and data else data


def _half_line(rest: bytes) -> int:
    return len(rest.partition(b"\n")[0]) // 2


def _cut(framing: str, how: str, place: str) -> Callable[[bytes, bytes], Sequence[Step]]:
    """place: how much of what would follow still comes."""

    def play(sent: bytes, rest: bytes) -> Sequence[Step]:
        keep = {"no byte": 0, "one byte": 1, "half a line": _half_line(rest)}[place]
        first = head(framing, len(sent) + len(rest)) + part(framing, sent)
        return [first, part(framing, rest[:keep]), how]

    return play


def _then(*steps: Step, extra: bytes = b"") -> Callable[[bytes, bytes], Sequence[Step]]:
    return lambda sent, rest: [head("close", 0, extra) + sent, *steps]


def _instead(text: bytes) -> Callable[[bytes, bytes], Sequence[Step]]:
    """A whole answer with this in place of what would follow."""

    def play(sent: bytes, rest: bytes) -> Sequence[Step]:
        return [head("chunked") + part("chunked", sent), part("chunked", text) + b"0\r\n\r\n"]

    return play


def _bare(*steps: Step) -> Callable[[bytes, bytes], Sequence[Step]]:
    return lambda sent, rest: steps


def _gzip(half: bool) -> Callable[[bytes, bytes], Sequence[Step]]:
    """Compressed, in good chunks, but without an end; half: in the middle of a line."""

    def play(sent: bytes, rest: bytes) -> Sequence[Step]:
        packer = zlib.compressobj(wbits=31)
        first = packer.compress(sent) + packer.flush(zlib.Z_SYNC_FLUSH)
        more = packer.compress(rest[: _half_line(rest)] if half else b"") + packer.flush(
            zlib.Z_SYNC_FLUSH
        )
        gzip = b"Content-Encoding: gzip\r\n"
        start = head("chunked", extra=gzip) + part("chunked", first)
        return [start, part("chunked", more) + b"0\r\n\r\n"]

    return play


_LA = '{"delta":"la "}\n'


def _flood(sent: bytes, rest: bytes) -> Sequence[Step]:
    lines = "".join(f'{{"delta":"{number} "}}\n' for number in range(30_000)).encode()
    return [head("close") + sent, lines, "stall"]


HTML = b"<html><head><title>made up</title></head><body>nginx</body></html>\n"
FRAMINGS = {"chunked": "chunked", "length": "counted", "close": "ended by closing"}
BODIES = {"JSON": b'{"detail": "made up"}', "HTML": HTML, "empty": b""}
ELSEWHERE = b"http://elsewhere.invalid/"


def status_play(status: int, body: bytes, extra: bytes = b"") -> Sequence[Step]:
    """A whole answer with this status."""
    size = b"Content-Length: %d\r\n" % len(body)
    return [b"HTTP/1.1 %d Made Up\r\n" % status + size + extra + b"\r\n" + body]


def _status(status: int, body: str) -> Callable[[bytes, bytes], Sequence[Step]]:
    return lambda sent, rest: status_play(status, BODIES[body])


def _redirect(status: int) -> Callable[[bytes, bytes], Sequence[Step]]:
    extra = b"Location: " + ELSEWHERE + b"\r\n"
    return lambda sent, rest: status_play(status, b"", extra)


CONNECTIONS = [
    Fault("connection refused", "refused", BROKEN, BROKEN, BROKEN, refresh=BROKEN),
    Fault("host name not found", "dns", BROKEN, BROKEN, BROKEN, refresh=BROKEN),
    Fault("TLS handshake fails", "tls", BROKEN, BROKEN, BROKEN, refresh=BROKEN),
    Fault("TLS certificate not trusted", "untrusted", BROKEN, BROKEN, BROKEN, refresh=BROKEN),
    Fault("connection hangs", "hang", SLOW, SLOW, SLOW, refresh=SLOW),
]
HEADS = [
    Fault("reset before headers", _bare("reset"), TWICE, TWICE, TWICE),
    Fault("closed before headers", _bare("fin"), TWICE, TWICE, TWICE),
    Fault(
        "reset in the headers",
        _bare(b"HTTP/1.1 200 OK\r\nCont", "reset"),
        TWICE,
        TWICE,
        TWICE,
    ),
    Fault("not HTTP", _bare(b"\x00\x01 made up\r\n\r\n", "fin"), BROKEN, BROKEN, BROKEN),
    Fault("silent before headers", _bare("stall"), SLOW, SLOW, SLOW),
]
CUTS = [
    Fault(
        f"{'closed' if how == 'fin' else how} after {place}, {FRAMINGS[framing]}",
        _cut(framing, how, place),
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
    Fault("stall", _then("stall"), SLOW, SLOW, SLOW, SLOW),
    Fault("newline dribble", _then("forever:\n"), SLOW, SLOW, SLOW, SLOW),
    Fault("heartbeats for ever", _then('forever:{"delta":"heartbeat"}\n'), None, None, SLOW, SLOW),
]
BODIES_200 = [
    Fault("HTML page with 200", _instead(HTML), INVALID, INVALID, INVALID, CUT),
    Fault(
        "error object with 200",
        _instead(b'{"status_code": 500, "msg": "made up"}\n'),
        BROKEN,
        BROKEN,
        BROKEN,
        BROKEN,
    ),
    Fault("detail with 200", _instead(b'{"detail": "made up"}\n'), BROKEN, BROKEN, BROKEN, BROKEN),
    Fault("empty body with 200", _instead(b""), INVALID, INVALID, INVALID),
    Fault("heartbeats only", _instead(b'{"delta":"heartbeat"}\n' * 3), None, None, INVALID),
    Fault("gzip that ends in mid-line", _gzip(True), INVALID, INVALID, CUT, CUT),
    Fault("gzip that ends after a line", _gzip(False), None, None, None, CUT),
    Fault("endless repetition", _then("forever:" + _LA), None, None, None, SLOW),
    Fault("endless quick repetition", _then("forever:" + _LA * 256), None, None, None, LOOP),
    Fault("endless flood", _flood, None, None, None, LONG),
]
REDIRECTS = [
    Fault(f"redirect {status} to another host", _redirect(status), NO_ACCOUNT, REFUSED, REFUSED)
    for status in (301, 302, 307)
]


def _by_status(status: int) -> tuple[Outcome, Outcome]:
    """What a status means at the login and at the other calls."""
    if status == 401:
        return NO_ACCOUNT, Told(502, "upstream_error", again=False, calls=3)
    if status == 429:
        return LIMITED, LIMITED
    if status == 504:
        return SLOW, SLOW
    return (NO_ACCOUNT, REFUSED) if status < 500 else (BROKEN, BROKEN)


STATUSES = [
    Fault(f"{status}, {body} body", _status(status, body), login, other, other)
    for status in (401, 403, 404, 413, 422, 429, 500, 502, 503, 504)
    for body in BODIES
    for login, other in [_by_status(status)]
]

SECTIONS = {
    "The connection": CONNECTIONS,
    "Before and in the headers": HEADS,
    "The answer breaks off": CUTS,
    "Silence": SILENCES,
    "Answers that are none": BODIES_200,
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
