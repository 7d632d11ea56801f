"""Answers written past the web framework, which would not send them broken."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any, Literal

from aiohttp import web

from emulator.answer import NDJSON, EmulatedAnswer

Framing = Literal["chunked", "length", "close"]
Ending = Literal["reset", "fin"]

# Time for the peer to read what was sent: a reset overtakes bytes still under way.
_SETTLE = 0.02


class RawAnswer:
    """Sends an answer with any HTTP framing, on a connection that ends with it."""

    def __init__(self, answer: EmulatedAnswer, framing: Framing = "chunked") -> None:
        transport = answer.request.transport
        if transport is None:
            raise ConnectionResetError("the caller left before the answer")
        self._transport = transport
        self._call = answer.call
        self._framing = framing
        answer.response = AlreadySent()

    def head(self, length: int = 0) -> None:
        """Send a 200 head; `length` is what the framing `length` promises."""
        lines = ["HTTP/1.1 200 OK", f"Content-Type: {NDJSON}", "Connection: close"]
        if self._framing == "chunked":
            lines.append("Transfer-Encoding: chunked")
        elif self._framing == "length":
            lines.append(f"Content-Length: {length}")
        self._call.status = 200
        self._transport.write("\r\n".join([*lines, "", ""]).encode())

    async def write(self, data: bytes) -> None:
        """Send body bytes, as one chunk if the framing is chunked."""
        framed = b"%x\r\n%b\r\n" % (len(data), data) if self._framing == "chunked" else data
        self._transport.write(framed)
        self._call.bytes_sent += len(data)
        await asyncio.sleep(0)

    def complete(self) -> None:
        """End the body as its framing demands, and the connection."""
        if self._framing == "chunked":
            self._transport.write(b"0\r\n\r\n")
        self._close()

    async def cut(self, how: Ending) -> None:
        """End the connection here, whatever the framing still owes."""
        await asyncio.sleep(_SETTLE)
        if how == "reset":
            _reset_on_close(self._transport)
        self._close()

    def _close(self) -> None:
        # Marked first: the end of the connection must not be taken for the client's doing.
        self._call.done.set()
        self._transport.close()


def _reset_on_close(transport: asyncio.Transport) -> None:
    # abort() alone sends an ordinary FIN; a linger time of zero makes the kernel send a reset.
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class AlreadySent(web.StreamResponse):
    """Tells the web server that nothing is left to send and the connection is used up."""

    def __init__(self) -> None:
        super().__init__()
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> Any:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None
