"""A client made of bytes, for what no HTTP client would send or do."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from emulator import Emulator, WrittenCall
from tests.support import KEY
from tests.waiting import LONGEST_WAIT
from tests.waiting import eventually as eventually

CHAT = "/v1/chat/completions"
UPSTREAM_CHAT = "/codeapi/chat_auth"
LOGIN = "/codeuser/auth/login"
REFRESH = "/codeuser/auth/refresh_access_token"


@dataclass
class PeerAnswer:
    """An HTTP answer, its body decoded from chunks."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        """The error object of the body."""
        error: dict[str, Any] = json.loads(self.body)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert isinstance(error["message"], str)
        return error


class Peer:
    """One connection to a gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, url: str, *, receive_buffer: int | None = None) -> Peer:
        """receive_buffer: bytes that the kernel takes for a client that does not read."""
        address = urlsplit(url)
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (address.hostname, address.port))
        except OSError:
            sock.close()
            raise
        return cls(*await asyncio.open_connection(sock=sock, limit=receive_buffer or 2**20))

    @property
    def socket(self) -> Any:
        """Its socket, for options."""
        return self._writer.get_extra_info("socket")

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of the next answer; header names in lower case."""
        raw = await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), LONGEST_WAIT)
        first, *lines = raw.decode("latin-1").splitlines()
        version, status, *_ = first.split(" ")
        assert version in ("HTTP/1.1", "HTTP/1.0"), first
        pairs = (line.split(": ", 1) for line in lines if line)
        return int(status), {name.lower(): value for name, value in pairs}

    async def answer(self) -> PeerAnswer:
        """The next answer, whole."""
        status, headers = await self.head()
        async with asyncio.timeout(LONGEST_WAIT):
            if "content-length" in headers:
                body = await self._reader.readexactly(int(headers["content-length"]))
            elif headers.get("transfer-encoding") == "chunked":
                body = await self._chunks()
            else:
                body = b"" if status in (204, 304) or status < 200 else await self._reader.read()
        return PeerAnswer(status, headers, body)

    async def _chunks(self) -> bytes:
        parts = []
        while size := int(await self._reader.readline(), 16):
            parts.append(await self._reader.readexactly(size))
            assert await self._reader.readexactly(2) == b"\r\n"
        assert await self._reader.readline() == b"\r\n"
        return b"".join(parts)

    async def until(self, wanted: bytes) -> bytes:
        """What arrives up to and including these bytes."""
        return await asyncio.wait_for(self._reader.readuntil(wanted), LONGEST_WAIT)

    async def rest(self) -> bytes:
        """What arrives until the gateway closes; a reset counts as closed."""
        parts = []
        try:
            async with asyncio.timeout(LONGEST_WAIT):
                while part := await self._reader.read(65536):
                    parts.append(part)
        except ConnectionError:
            pass
        return b"".join(parts)

    def finish_sending(self) -> None:
        """Close our direction only."""
        self._writer.write_eof()

    def close(self) -> None:
        """Close in order, with a FIN."""
        self._writer.close()

    def reset(self) -> None:
        """Close with an RST, as a killed process behind a proxy does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


def chat_body(text: str, **parameters: Any) -> bytes:
    """The body of a chat request with one user message."""
    return json.dumps({"messages": [{"role": "user", "content": text}], **parameters}).encode()


def chat_head(headers: Mapping[str, str], target: str = f"POST {CHAT}") -> bytes:
    """The head of a chat request, with the key."""
    every = {"Host": "gateway", "Authorization": f"Bearer {KEY}", **headers}
    lines = [f"{target} HTTP/1.1", *(f"{name}: {value}" for name, value in every.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def chat_request(text: str, **parameters: Any) -> bytes:
    """A whole chat request."""
    body = chat_body(text, **parameters)
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    return chat_head(headers) + body


def chunked(body: bytes, size: int = 7) -> bytes:
    """The body in chunks."""
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


async def upstream_call(emulator: Emulator) -> WrittenCall:
    """The one chat call that the emulator got, as soon as it is there."""
    calls = await eventually(lambda: emulator.calls_to(UPSTREAM_CHAT))
    assert len(calls) == 1
    call: WrittenCall = calls[0]
    return call
