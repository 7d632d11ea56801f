"""Stands in for Fitten and is never the bottleneck: ready bytes on bare asyncio protocols.

    python -m benchmarks.upstream [--tls FOLDER]

It prints `{"http": PORT, "https": PORT or null}` once it listens. A request's answer is
named in its text: `[[bench:small]]`, `[[bench:burst]]`, `[[bench:paced:PIECES:MILLISECONDS]]`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import ssl
import time
from pathlib import Path

from benchmarks import loads

_EDGE = 1024  # bytes at either end of a body that are searched for a marker
_MAX_BODY = 1024 * 1024


def _json_answer(value: object, status: str = "200 OK") -> bytes:
    body = json.dumps(value).encode()
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )


_LOGIN = _json_answer(
    {
        "access_token": "bench-access-token",
        "refresh_token": "bench-refresh-token",
        "user_info": {"user_id": "bench-user-id", "username": "bench"},
    }
)
_MODELS = _json_answer(
    {
        "chat": [{"selection_name": "S1", "display_name": "Default", "is_default": True}],
        "agent": [],
    }
)
_NOT_FOUND = _json_answer({"detail": "Not Found"}, "404 Not Found")
_OTHERS = {b"/codeuser/auth/login": _LOGIN, b"/codeapi/chat/models": _MODELS}
_ANSWERS = {
    b"/codeapi/chat_auth": {
        b"small": loads.native_answer(loads.SMALL),
        b"burst": loads.native_answer(loads.BURST),
    },
    b"/v1/chat/completions": {
        b"small": loads.openai_answer(loads.SMALL),
        b"burst": loads.openai_answer(loads.BURST),
    },
}
_BEGIN = {
    b"/codeapi/chat_auth": loads.NATIVE_HEAD,
    b"/v1/chat/completions": loads.OPENAI_HEAD + loads.OPENAI_BEGIN,
}
_END = {b"/codeapi/chat_auth": loads.NATIVE_END, b"/v1/chat/completions": loads.OPENAI_END}
# Every stamp has the same length, so a paced piece is two halves round its digits.
_PACED = {
    b"/codeapi/chat_auth": loads.chunk(loads.native_line(loads.STAMP % 0)),
    b"/v1/chat/completions": loads.chunk(loads.openai_line(loads.STAMP % 0)),
}


class PacedAnswer:
    """Sends one paced answer: a piece at each turn."""

    __slots__ = ("_after", "_before", "_end", "_left", "_transport")

    def __init__(self, transport: asyncio.Transport, path: bytes, pieces: int) -> None:
        self._transport = transport
        zeros = b"0" * loads.STAMP_DIGITS
        self._before, self._after = _PACED[path].split(zeros)
        self._end = _END[path]
        self._left = pieces
        transport.write(_BEGIN[path])

    def turn(self) -> bool:
        """Send a piece; return whether there is another."""
        if self._transport.is_closing():
            return False
        self._left -= 1
        piece = b"%s%018d%s" % (self._before, time.monotonic_ns(), self._after)
        self._transport.write(piece if self._left else piece + self._end)
        return self._left > 0


class Wheel:
    """Gives turns to all answers of one pace: a single timer, spread over the period."""

    def __init__(self, period: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._slots: list[list[PacedAnswer]] = [[] for _ in range(20)]
        self._step = period / len(self._slots)
        self._index = 0
        self._due = 0.0
        self._running = False

    def add(self, answer: PacedAnswer) -> None:
        """Give an answer its turns, where the fewest others have theirs."""
        min(self._slots, key=len).append(answer)
        if not self._running:
            self._running = True
            self._due = self._loop.time()
            self._tick()

    def _tick(self) -> None:
        index = self._index
        self._slots[index] = [answer for answer in self._slots[index] if answer.turn()]
        self._index = (index + 1) % len(self._slots)
        self._running = any(self._slots)
        if self._running:
            self._due += self._step
            self._loop.call_at(self._due, self._tick)


class UpstreamConnection(asyncio.Protocol):
    """Serves one connection; requests one after the other, bodies counted or chunked."""

    _transport: asyncio.Transport

    def __init__(self, wheels: dict[int, Wheel]) -> None:
        self._wheels = wheels
        self._rest = b""
        self._path = b""
        self._left = 0  # bytes of the body still to come
        self._chunked = False
        self._first = self._last = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._left:
            self._more(data)
        elif self._chunked:
            self._more_chunks(data)
        else:
            self._head(self._rest + data if self._rest else data)

    def _head(self, data: bytes) -> None:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._rest = data
            return
        self._rest = b""
        head = data[:end].lower()
        self._path = data[data.find(b" ") + 1 : data.find(b" ", 8)].split(b"?", 1)[0]
        body = data[end + 4 :]
        at = head.find(b"\r\ncontent-length:")
        if at >= 0:
            line = head[at + 17 : head.find(b"\r\n", at + 2) % (len(head) + 1)]
            self._left = int(line) - len(body)
            self._first = body[:_EDGE]
            self._last = body[-_EDGE:]
            if self._left > 0:
                return
        elif b"\r\ntransfer-encoding: chunked" in head:
            self._chunked = True
            self._more_chunks(body)
            return
        self._answer()

    def _more(self, data: bytes) -> None:
        self._left -= len(data)
        if len(self._first) < _EDGE:
            self._first += data[:_EDGE]
        self._last = data[-_EDGE:] if len(data) >= _EDGE else (self._last + data)[-_EDGE:]
        if self._left <= 0:
            self._answer()

    def _more_chunks(self, data: bytes) -> None:
        """Only the end matters: the marker is found through the chunks' framing."""
        self._rest += data
        if len(self._rest) > _MAX_BODY:
            self._transport.close()
        elif self._rest.endswith(loads.LAST_CHUNK):
            self._first, self._last = self._rest[:_EDGE], self._rest[-_EDGE:]
            self._rest, self._chunked = b"", False
            self._answer()

    def _answer(self) -> None:
        self._left = 0
        answers = _ANSWERS.get(self._path)
        if answers is None:
            self._transport.write(_OTHERS.get(self._path, _NOT_FOUND))
            return
        name = _marker(self._last) or _marker(self._first) or b"small"
        ready = answers.get(name)
        if ready is not None:
            self._transport.write(ready)
            return
        _, pieces, pace = name.split(b":")
        wheel = self._wheels.get(int(pace))
        if wheel is None:
            wheel = self._wheels[int(pace)] = Wheel(int(pace) / 1000)
        wheel.add(PacedAnswer(self._transport, self._path, int(pieces)))


def _marker(data: bytes) -> bytes:
    at = data.rfind(b"[[bench:")
    return data[at + 8 : data.find(b"]]", at)] if at >= 0 else b""


async def _serve(tls: Path | None) -> None:
    loop = asyncio.get_running_loop()
    wheels: dict[int, Wheel] = {}
    context = None
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls / "cert.pem", tls / "key.pem")
    ports: list[int | None] = []
    for secure in (None, context) if context else (None,):
        server = await loop.create_server(
            lambda: UpstreamConnection(wheels), "127.0.0.1", 0, ssl=secure, backlog=4096
        )
        ports.append(server.sockets[0].getsockname()[1])
    ports.append(None)
    print(json.dumps({"http": ports[0], "https": ports[1]}), flush=True)
    gc.collect()
    gc.disable()
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="A fast stand-in for Fitten.")
    parser.add_argument("--tls", type=Path, metavar="FOLDER", help="with cert.pem and key.pem")
    asyncio.run(_serve(parser.parse_args().tls))


if __name__ == "__main__":
    main()
