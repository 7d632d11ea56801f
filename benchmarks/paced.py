"""Reads many paced streams at once; checks every piece and how late it came.

    python -m benchmarks.paced --port PORT --streams 200 --pieces 250 --pace 20

The upstream writes the time into each piece; on one machine both read the same clock. The
result is one JSON object: medians and 99th percentiles of the delay, in microseconds, of
first pieces and of later ones.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import time
from functools import partial
from typing import Any

from benchmarks import loads

_DONE = b"data: [DONE]"


class Tally:
    """Counts what all streams received."""

    def __init__(self) -> None:
        self.first: list[float] = []
        self.later: list[float] = []
        self.pieces = 0
        self.reads = 0  # that brought a piece
        self.faults: list[str] = []


class PacedStream(asyncio.Protocol):
    """Reads one streamed answer on one connection."""

    def __init__(self, request: bytes, wanted: int, tally: Tally) -> None:
        self._request = request
        self._wanted = wanted
        self._tally = tally
        self._raw = b""
        self._text = b""
        self._in_body = False
        self._count = 0
        self._latest = 0
        self._done = False
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        self._raw += data
        if not self._in_body:
            head, found, rest = self._raw.partition(b"\r\n\r\n")
            if not found:
                return
            if not head.startswith(b"HTTP/1.1 200") or b"chunked" not in head.lower():
                self._end(f"answered {head[:80]!r} {rest[:200]!r}")
                return
            self._in_body = True
            self._raw = rest
        last = self._unchunk()
        *frames, self._text = self._text.split(b"\n\n")
        before = self._count
        for frame in frames:
            at = frame.find(loads.STAMP_MARK)
            if at >= 0 and not self._done:
                self._piece(int(frame[at + 2 : at + 2 + loads.STAMP_DIGITS]), now)
            self._done = frame == _DONE
        self._tally.reads += self._count > before
        if last:
            whole = self._count == self._wanted and self._done and not self._text
            self._end(None if whole else f"{self._count} pieces of {self._wanted}")

    def _unchunk(self) -> bool:
        """Move the text of whole chunks on; whether the last one was there."""
        raw, start = self._raw, 0
        while True:
            at = raw.find(b"\r\n", start)
            if at < 0:
                break
            size = int(raw[start:at], 16)
            end = at + 2 + size + 2
            if len(raw) < end:
                break
            if not size:
                return True
            self._text += raw[at + 2 : end - 2]
            start = end
        self._raw = raw[start:]
        return False

    def _piece(self, stamp: int, now: int) -> None:
        if stamp < self._latest:
            self._end("pieces out of order")
        self._latest = stamp
        tally = self._tally
        (tally.later if self._count else tally.first).append((now - stamp) / 1000)
        self._count += 1
        tally.pieces += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("the connection closed early")

    def _end(self, fault: str | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
            self._transport.close()
            if fault:
                self._tally.faults.append(fault)


def chat_request(port: int, body: bytes, key: str) -> bytes:
    """Return the bytes of a chat completion request."""
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\n"
        b"Host: 127.0.0.1:%d\r\nAuthorization: Bearer %s\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
        % (port, key.encode(), len(body), body)
    )


async def run(port: int, streams: int, pieces: int, pace: int, ramp: float, keys: int) -> Tally:
    """Open the streams evenly over `ramp` seconds and read them to their ends."""
    loop = asyncio.get_running_loop()
    tally = Tally()
    body = loads.request_body(f"paced:{pieces}:{pace}")
    waiting = []
    started = loop.time()
    for index in range(streams):
        await asyncio.sleep(max(0.0, started + ramp * index / streams - loop.time()))
        request = chat_request(port, body, f"sk-bench-4f1c9a7e2d8b6035c1e7a94d-{index % keys + 1}")
        _, stream = await loop.create_connection(
            partial(PacedStream, request, pieces, tally), "127.0.0.1", port
        )
        waiting.append(stream.ended)
    limit = pieces * pace / 1000 * 3 + 30
    _, missing = await asyncio.wait(waiting, timeout=limit)
    tally.faults.extend("not ended in time" for _ in missing)
    return tally


def summary(tally: Tally, streams: int) -> dict[str, Any]:
    """Return the result as plain data."""
    return {
        "streams": streams,
        "pieces": tally.pieces,
        "faults": len(tally.faults),
        "sample": tally.faults[0] if tally.faults else "",
        "client_cpu": time.process_time(),
        # Well over 1, the machine was too busy: pieces that wait for each other cost less.
        "pieces_a_read": tally.pieces / max(1, tally.reads),
        **{
            f"{name}_{label}_us": loads.percentile(values, share)
            for name, values in (("first", tally.first), ("later", tally.later))
            for label, share in (("p50", 0.5), ("p99", 0.99))
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Many paced streams at once.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--pieces", type=int, default=250, help="in each stream")
    parser.add_argument("--pace", type=int, default=20, help="milliseconds between pieces")
    parser.add_argument("--ramp", type=float, default=1.0, help="seconds to open the streams in")
    parser.add_argument("--keys", type=int, default=8, help="how many API keys to use in turn")
    given = parser.parse_args()
    gc.disable()
    tally = asyncio.run(
        run(given.port, given.streams, given.pieces, given.pace, given.ramp, given.keys)
    )
    print(json.dumps(summary(tally, given.streams)))


if __name__ == "__main__":
    main()
