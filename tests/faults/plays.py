"""What Fitten does when it fails, as bytes and pauses: the steps that `upstream` carries out.

Each is made from what of a good body goes out well, and what would follow.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

from tests.faults.upstream import Step

BEAT = '{"delta":"heartbeat"}\n'
LA = '{"delta":"la "}\n'
HTML = b"<html><head><title>made up</title></head><body>nginx</body></html>\n"
FRAMINGS = {"chunked": "chunked", "length": "counted", "close": "ended by closing"}
BODIES = {"JSON": b'{"detail": "made up"}', "HTML": HTML, "empty": b""}
ELSEWHERE = b"http://elsewhere.invalid/"

Play = Callable[[bytes, bytes], Sequence[Step]]


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


def half_line(rest: bytes) -> int:
    return len(rest.partition(b"\n")[0]) // 2


def cut(framing: str, how: str, place: str) -> Play:
    """place: how much of what would follow still comes."""

    def play(sent: bytes, rest: bytes) -> Sequence[Step]:
        keep = {"no byte": 0, "one byte": 1, "half a line": half_line(rest)}[place]
        first = head(framing, len(sent) + len(rest)) + part(framing, sent)
        return [first, part(framing, rest[:keep]), how]

    return play


def then(*steps: Step, extra: bytes = b"") -> Play:
    """A good start, of a body that lasts until the connection is closed, and then these."""
    return lambda sent, rest: [head("close", 0, extra) + sent, *steps]


def instead(text: bytes) -> Play:
    """A whole answer with this in place of what would follow."""

    def play(sent: bytes, rest: bytes) -> Sequence[Step]:
        return [head("chunked") + part("chunked", sent), part("chunked", text) + b"0\r\n\r\n"]

    return play


def said(number: int) -> Play:
    """An error object with a good status."""
    return instead(b'{"status_code": %d, "msg": "made up"}\n' % number)


def bare(*steps: Step) -> Play:
    """These and nothing else."""
    return lambda sent, rest: steps


def gzip(half: bool) -> Play:
    """Compressed, in good chunks, but without an end; half: in the middle of a line."""

    def play(sent: bytes, rest: bytes) -> Sequence[Step]:
        packer = zlib.compressobj(wbits=31)
        first = packer.compress(sent) + packer.flush(zlib.Z_SYNC_FLUSH)
        more = packer.compress(rest[: half_line(rest)] if half else b"") + packer.flush(
            zlib.Z_SYNC_FLUSH
        )
        packed = b"Content-Encoding: gzip\r\n"
        start = head("chunked", extra=packed) + part("chunked", first)
        return [start, part("chunked", more) + b"0\r\n\r\n"]

    return play


def flood(sent: bytes, rest: bytes) -> Sequence[Step]:
    """More text than any answer has, as fast as it is taken."""
    lines = "".join(f'{{"delta":"{number} "}}\n' for number in range(30_000)).encode()
    return [head("close") + sent, lines, "stall"]


def status_play(status: int, body: bytes, extra: bytes = b"") -> Sequence[Step]:
    """A whole answer with this status."""
    size = b"Content-Length: %d\r\n" % len(body)
    return [b"HTTP/1.1 %d Made Up\r\n" % status + size + extra + b"\r\n" + body]


def status(number: int, body: str) -> Play:
    """This status, with a body of this kind."""
    return lambda sent, rest: status_play(number, BODIES[body])


def redirect(number: int) -> Play:
    """This status, and where to go."""
    extra = b"Location: " + ELSEWHERE + b"\r\n"
    return lambda sent, rest: status_play(number, b"", extra)
