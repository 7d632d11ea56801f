"""Runs a Fitten made of bytes that fails in one way at one moment and works otherwise."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

Moment = Literal["login", "refresh", "models", "version", "completion", "before", "second", "after"]
Action = bytes | str  # bytes to send, or "fin", "reset", "stall", or "forever:" and what is sent

_PACE = 0.01  # seconds between the repeats of "forever:"

LINES = (b'{"delta":"Hello, "}\n', b'{"delta":"world!"}\n')

GOOD: dict[str, bytes] = {
    "login": json.dumps(
        {"access_token": "new", "refresh_token": "again", "user_info": {"user_id": "u_1"}}
    ).encode(),
    "refresh": b'{"access_token": "newer", "access_token_expires": "P1D"}',
    "models": b'{"chat": [{"selection_name": "S9", "display_name": "Listed"}]}',
    "version": b'"1"',
    "completion": b'{"generated_text": "done()", "server_request_id": "r"}',
    "chat": b"".join(LINES),
}


def path_moment(path: str) -> str:
    """Return which of the calls in GOOD a path is."""
    ends = {
        "/codeuser/auth/login": "login",
        "/codeuser/auth/refresh_access_token": "refresh",
        "/codeapi/chat/models": "models",
        "/codeuser/get_completion_version": "version",
        "/codeapi/chat_auth": "chat",
    }
    return ends.get(path) or ("completion" if path.startswith("/codeapi/completion") else "else")


def whole(body: bytes, *, last: bool) -> bytes:
    """Return a good answer. last: the last one of its connection."""
    kept = b"Connection: close\r\n" if last else b""
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (kept, len(body), body)


class FaultyFitten:
    """Answers on a free port until `stop`; `calls` counts the requests of each kind.

    fault: the actions in place of the answer to the first `times` calls of `moment`. Only calls
            by `user`, if that is set; only when `applies` returns true; not before `go` is set.
        keeps: whether a connection serves more than one request.
        silent_tls: no answer to a TLS handshake.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.failing = 0  # connections on which the fault happens now
        self.tasks: set[asyncio.Task[Any]] = set()
        self.moment = ""
        self.user = ""
        self.go = asyncio.Event()
        self.times = sys.maxsize
        self.applies: Callable[[], bool] = lambda: True
        self.keeps = True
        self.silent_tls = False
        self.fault: Sequence[Action] = ()
        self._server: asyncio.Server

    async def start(self, *, untrusted: bool = False) -> None:
        """Listen. untrusted: over TLS, with a certificate that no authority has signed."""
        context = None
        if untrusted:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(Path(__file__).with_name("untrusted.pem"))
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        self._server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            while await self._answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the connection's end, or that of the test
        finally:
            writer.close()
            self.tasks.discard(task)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        first = await reader.readexactly(1)
        if first == b"\x16":  # a TLS handshake
            if self.silent_tls:
                await reader.read()
            writer.write(b"made up: no TLS here\r\n")
            raise ConnectionAbortedError
        head = first + await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        body = await reader.readexactly(int(length or 0))
        path, _, query = head.split(b" ")[1].decode().partition("?")
        call = path_moment(path)
        if self.user not in query + body.decode("utf-8", "replace"):
            call = "other_user"
        self.calls[call] += 1
        if call != self.moment or self.calls[call] > self.times or not self.applies():
            writer.write(whole(GOOD.get(path_moment(path), b""), last=not self.keeps))
            return self.keeps
        self.failing += 1
        try:
            await self.go.wait()
            for action in self.fault:
                await _perform(action, reader, writer)
        finally:
            self.failing -= 1
        return True


async def _perform(
    action: Action, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    if isinstance(action, bytes):
        writer.write(action)
        await writer.drain()
        await asyncio.sleep(0.01)  # so that it is read alone
    elif action == "fin":
        raise ConnectionAbortedError
    elif action == "reset":
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        raise ConnectionResetError
    elif action == "stall":
        await reader.read()
        raise ConnectionAbortedError
    else:
        again = action.removeprefix("forever:").encode()
        while not reader.at_eof():
            writer.write(again)
            await writer.drain()
            await asyncio.sleep(_PACE)
        raise ConnectionAbortedError
