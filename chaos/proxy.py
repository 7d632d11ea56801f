"""A TCP proxy between the gateway and Fitten's emulator that breaks what it is told to break.

Which request suffers what stands in its prompt, `tag=NAME fault=KIND:AT:TIMES`, and not in the
proxy's own dice: connections come in another order in every run, prompts do not.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
import zlib
from collections import Counter
from dataclasses import dataclass

# What each fault does, and whether an answer that it strikes can still be whole.
FAULTS = {
    "refuse": "the connection is reset in place of an answer; the emulator never sees the request",
    "reset": "the connection is reset after AT bytes of the answer",
    "close": "the connection is closed in order after AT bytes of the answer",
    "hang": "nothing more comes after AT bytes, until the gateway leaves",
    "garbage": "bytes that belong to nothing stand after AT bytes of the answer",
    "stall": "a pause after AT bytes of the answer",
    "trickle": "the answer comes a few bytes at a time",
}
HARMLESS = frozenset({"stall", "trickle"})

_ORDER = re.compile(rb"tag=([a-z0-9-]+) fault=([a-z]+):(\d+):(\d+)")
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)\r\n")
_GZIP = re.compile(rb"(?i)\r\ncontent-encoding: *gzip\r\n")
_MOST = 1024 * 1024  # bytes of a request
_CHUNK = 64 * 1024
_STALL = 0.7  # seconds; less than the gateway's limit
_GARBAGE = b"\r\n\x00\xffnot HTTP\r\n"


@dataclass(frozen=True)
class Fault:
    """What is to be done to one exchange."""

    tag: str
    kind: str
    at: int


class Proxy:
    """Listens on a port of its own and forwards to `target`; an async context manager.

    fired: how many exchanges of each tag a fault broke. strikes: how often each kind came true.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._links: dict[asyncio.Task[None], _Link] = {}
        self._seen: Counter[str] = Counter()
        self.fired: Counter[str] = Counter()
        self.strikes: Counter[str] = Counter()

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._links):
            task.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def open(self) -> int:
        """How many connections it holds."""
        return len(self._links)

    def drop_idle(self, *, hard: bool = False) -> int:
        """Close the connections on which no answer is under way; how many that were."""
        idle = [link for link in self._links.values() if link.idle]
        for link in idle:
            link.drop(hard=hard)
        return len(idle)

    def drop_all(self) -> None:
        """Close every connection in order."""
        for link in self._links.values():
            link.drop(hard=False)

    def order(self, request: bytes) -> Fault | None:
        """The fault that a request asks for, as long as it has not had it often enough."""
        found = _ORDER.search(_readable(request))
        if found is None:
            return None
        tag, kind, at, times = (group.decode() for group in found.groups())
        self._seen[tag] += 1
        return Fault(tag, kind, int(at)) if self._seen[tag] <= int(times) else None

    def struck(self, fault: Fault) -> None:
        """Write down that a fault came true."""
        self.strikes[fault.kind] += 1
        if fault.kind not in HARMLESS:
            self.fired[fault.tag] += 1

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        link = _Link(self, reader, writer)
        self._links[task] = link
        try:
            await link.run(self._target)
        finally:
            del self._links[task]


class _Link:
    """A connection from the gateway and its counterpart to the emulator."""

    def __init__(
        self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._proxy = proxy
        self._near = reader, writer
        self._fault: Fault | None = None
        self._count = 0  # bytes of the present answer
        self._tail = b""
        self.idle = True

    async def run(self, target: int) -> None:
        try:
            far = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            _reset(self._near[1])
            return
        ways = [asyncio.ensure_future(way) for way in (self._there(far[1]), self._back(far[0]))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for writer in (far[1], self._near[1]):
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    def drop(self, *, hard: bool) -> None:
        _reset(self._near[1]) if hard else self._near[1].close()

    async def _there(self, far: asyncio.StreamWriter) -> None:
        """Requests, each as a whole, so that one which is to be refused was never begun."""
        while request := await _request(self._near[0]):
            self.idle = False
            self._count, self._tail = 0, b""
            self._fault = self._proxy.order(request)
            if self._fault is not None and self._fault.kind == "refuse":
                self._proxy.struck(self._fault)
                _reset(self._near[1])
                return
            far.write(request)
            await far.drain()

    async def _back(self, far: asyncio.StreamReader) -> None:
        while data := await far.read(_CHUNK):
            fault = self._fault
            if fault is None:
                await self._pass(data)
            elif fault.kind == "trickle":
                await self._trickle(data, fault)
            elif self._count + len(data) <= fault.at:
                await self._pass(data)
            else:
                cut = fault.at - self._count
                await self._pass(data[:cut])
                if not await self._strike(fault):
                    return
                await self._pass(data[cut:])

    async def _pass(self, data: bytes) -> None:
        self._count += len(data)
        # The last bytes of a chunked body; a counted one is taken for open until the next
        # request, which only spares it from being dropped.
        self._tail = (self._tail + data)[-7:]
        self.idle = self._tail == b"\r\n0\r\n\r\n"
        self._near[1].write(data)
        await self._near[1].drain()

    async def _trickle(self, data: bytes, fault: Fault) -> None:
        if not self._count:
            self._proxy.struck(fault)
        for start in range(0, len(data), 5):
            await self._pass(data[start : start + 5])
            await asyncio.sleep(0.001)

    async def _strike(self, fault: Fault) -> bool:
        """Do it; whether the answer goes on."""
        self._fault = None
        self._proxy.struck(fault)
        if fault.kind == "stall":
            await asyncio.sleep(_STALL)
        elif fault.kind == "garbage":
            self._near[1].write(_GARBAGE)
        elif fault.kind == "hang":
            await asyncio.Event().wait()
        elif fault.kind == "reset":
            _reset(self._near[1])
        return fault.kind in ("stall", "garbage")


async def _request(reader: asyncio.StreamReader) -> bytes:
    """The next request with its body, which must be counted; b"" at the end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        return head + await reader.readexactly(min(int(length[1]), _MOST) if length else 0)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
        return b""


def _readable(request: bytes) -> bytes:
    head, _, body = request.partition(b"\r\n\r\n")
    if _GZIP.search(head + b"\r\n"):
        return zlib.decompressobj(wbits=31).decompress(body, _MOST)
    return body


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN."""
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
