"""Builds Fitten's failing responses as lists of actions, which `upstream` performs.

A response is built from two parts of a good body: what is sent well, and what would follow.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

from tests.faults.upstream import Action

BEAT = '{"delta":"heartbeat"}\n'
LA = '{"delta":"la "}\n'
HTML = b"<html><head><title>made up</title></head><body>nginx</body></html>\n"
FRAMINGS = {"chunked": "chunked", "length": "counted", "close": "ended by closing"}
BODIES = {"JSON": b'{"detail": "made up"}', "HTML": HTML, "empty": b""}
ELSEWHERE = b"http://elsewhere.invalid/"

Response = Callable[[bytes, bytes], Sequence[Action]]


def head(framing: str, size: int = 0, extra: bytes = b"") -> bytes:
    """Return the head of a good answer."""
    frame = {
        "chunked": b"Transfer-Encoding: chunked\r\n",
        "length": b"Content-Length: %d\r\n" % size,
        "close": b"Connection: close\r\n",
    }[framing]
    return b"HTTP/1.1 200 OK\r\n" + frame + extra + b"\r\n"


def part(framing: str, data: bytes) -> bytes:
    """Return a part of the body in this framing."""
    return b"%x\r\n%b\r\n" % (len(data), data) if framing == "chunked" and data else data


def half_line(remainder: bytes) -> int:
    return len(remainder.partition(b"\n")[0]) // 2


def cut(framing: str, how: str, place: str) -> Response:
    """Return an answer that breaks off. place: how much of what would follow is still sent."""

    def build(start: bytes, remainder: bytes) -> Sequence[Action]:
        keep = {"no byte": 0, "one byte": 1, "half a line": half_line(remainder)}[place]
        first = head(framing, len(start) + len(remainder)) + part(framing, start)
        return [first, part(framing, remainder[:keep]), how]

    return build


def then(*actions: Action, extra: bytes = b"") -> Response:
    """Return a good start of a body without a length, and then these actions."""
    return lambda start, remainder: [head("close", 0, extra) + start, *actions]


def instead(text: bytes) -> Response:
    """Return a whole answer with this text in place of what would follow."""

    def build(start: bytes, remainder: bytes) -> Sequence[Action]:
        return [head("chunked") + part("chunked", start), part("chunked", text) + b"0\r\n\r\n"]

    return build


def error_object(number: int) -> Response:
    """Return an error object with status 200."""
    return instead(b'{"status_code": %d, "msg": "made up"}\n' % number)


def only(*actions: Action) -> Response:
    """Return these actions and nothing else."""
    return lambda start, remainder: actions


def gzip(half: bool) -> Response:
    """Return a compressed body in good chunks without an end. half: it ends within a line."""

    def build(start: bytes, remainder: bytes) -> Sequence[Action]:
        packer = zlib.compressobj(wbits=31)
        first = packer.compress(start) + packer.flush(zlib.Z_SYNC_FLUSH)
        more = packer.compress(remainder[: half_line(remainder)] if half else b"") + packer.flush(
            zlib.Z_SYNC_FLUSH
        )
        packed = b"Content-Encoding: gzip\r\n"
        answer = head("chunked", extra=packed) + part("chunked", first)
        return [answer, part("chunked", more) + b"0\r\n\r\n"]

    return build


def flood(start: bytes, remainder: bytes) -> Sequence[Action]:
    """Return more text than any answer has, sent as fast as it is read."""
    lines = "".join(f'{{"delta":"{number} "}}\n' for number in range(30_000)).encode()
    return [head("close") + start, lines, "stall"]


def status_response(status: int, body: bytes, extra: bytes = b"") -> Sequence[Action]:
    """Return a whole answer with this status."""
    size = b"Content-Length: %d\r\n" % len(body)
    return [b"HTTP/1.1 %d Made Up\r\n" % status + size + extra + b"\r\n" + body]


def status(number: int, body: str) -> Response:
    """Return an answer with this status and a body of this kind."""
    return lambda start, remainder: status_response(number, BODIES[body])


def redirect(number: int) -> Response:
    """Return an answer with this status and a Location."""
    extra = b"Location: " + ELSEWHERE + b"\r\n"
    return lambda start, remainder: status_response(number, b"", extra)
