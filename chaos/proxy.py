"""Runs a TCP proxy between the gateway and the emulator that breaks connections on request.

It records each exchange, and numbers the exchanges for the emulator's record.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
import zlib
from collections import Counter

from chaos.fault import ChaosFault, read
from chaos.records.exchange import HEADER, ChaosExchange

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)\r\n")
_GZIP = re.compile(rb"(?i)\r\ncontent-encoding: *gzip\r\n")
_MOST = 1024 * 1024  # bytes of a request
_CHUNK = 64 * 1024
_STALL = 0.7  # seconds; less than the gateway's limit
_GARBAGE = b"\r\n\x00\xffnot HTTP\r\n"


class Proxy:
    """Listens on a port of its own and forwards to `target`; an async context manager.

    exchanges: all of them in their order. fault_counts: how often each kind of fault happened.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._links: dict[asyncio.Task[None], _Link] = {}
        self._seen: Counter[str] = Counter()
        self.exchanges: list[ChaosExchange] = []
        self.fault_counts: Counter[str] = Counter()

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
        """Return the port on which it listens."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def open(self) -> int:
        """Return how many connections are open."""
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

    def enter(self, request: bytes) -> ChaosExchange:
        """Record a request. Its fault is the one that it asks for, unless it has had it."""
        tag, fault = read(_readable(request))
        target = request.split(b" ", 2)[1].decode("latin-1")
        exchange = ChaosExchange(len(self.exchanges), target, tag)
        if fault is not None:
            self._seen[tag] += 1
            exchange.fault = fault if self._seen[tag] <= fault.times else None
        self.exchanges.append(exchange)
        return exchange

    def count_fault(self, exchange: ChaosExchange, fault: ChaosFault) -> None:
        """Record that a fault happened."""
        self.fault_counts[fault.kind] += 1
        exchange.happened = True

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
        self._exchange: ChaosExchange | None = None
        self._tail = b""
        self._dropped = False
        self.idle = False  # a new one waits for its first request, which is not to be lost

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
        self._dropped = True
        _reset(self._near[1]) if hard else self._near[1].close()

    async def _there(self, far: asyncio.StreamWriter) -> None:
        """Requests, each as a whole, so that one which is to be refused was never begun."""
        while request := await _request(self._near[0]):
            self.idle = False
            self._tail = b""
            exchange = self._exchange = self._proxy.enter(request)
            exchange.dropped = self._dropped
            fault = exchange.fault
            if fault is not None and fault.kind == "refuse":
                self._proxy.count_fault(exchange, fault)
                _reset(self._near[1])
                return
            line, rest = request.split(b"\r\n", 1)
            exchange.forwarded = True
            far.write(b"%b\r\n%b: %d\r\n%b" % (line, HEADER.encode(), exchange.number, rest))
            await far.drain()

    async def _back(self, far: asyncio.StreamReader) -> None:
        while data := await far.read(_CHUNK):
            exchange = self._exchange
            if exchange is None or exchange.fault is None:
                await self._pass(data)
            elif exchange.fault.kind == "trickle":
                await self._trickle(data, exchange, exchange.fault)
            elif exchange.happened or exchange.passed + len(data) <= exchange.fault.at:
                await self._pass(data)
            else:
                cut = exchange.fault.at - exchange.passed
                await self._pass(data[:cut])
                if not await self._perform(exchange, exchange.fault):
                    return
                await self._pass(data[cut:])

    async def _pass(self, data: bytes) -> None:
        if self._exchange is not None:
            self._exchange.pass_on(data)
        # The last bytes of a chunked body; a counted one is taken for open until the next
        # request, which only spares it from being dropped.
        self._tail = (self._tail + data)[-7:]
        self.idle = self._tail == b"\r\n0\r\n\r\n"
        self._near[1].write(data)
        await self._near[1].drain()

    async def _trickle(self, data: bytes, exchange: ChaosExchange, fault: ChaosFault) -> None:
        if not exchange.happened:
            self._proxy.count_fault(exchange, fault)
        for start in range(0, len(data), 5):
            await self._pass(data[start : start + 5])
            await asyncio.sleep(0.001)

    async def _perform(self, exchange: ChaosExchange, fault: ChaosFault) -> bool:
        """Do it; return whether the answer goes on."""
        self._proxy.count_fault(exchange, fault)
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
