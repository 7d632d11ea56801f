"""Each fault of the proxy does what it says, and the proxy records it."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from chaos.proxy import Proxy
from chaos.records.exchange import HEADER
from tests.waiting import LONGEST_WAIT

BODY = b"0123456789" * 20
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ANSWER = HEAD + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
GARBAGE = b"\r\n\x00\xffnot HTTP\r\n"


class PlainFitten:
    """Answers every request alike; knows their heads."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                self.heads.append(head)
                self.bodies.append(await reader.readexactly(length))
                writer.write(ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@pytest.fixture
async def fitten() -> AsyncIterator[tuple[PlainFitten, Proxy]]:
    running_app = PlainFitten()
    server = await asyncio.start_server(running_app.serve, "127.0.0.1", 0)
    async with Proxy(server.sockets[0].getsockname()[1]) as proxy:
        yield running_app, proxy
    server.close()


@asynccontextmanager
async def connected(
    proxy: Proxy,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.close()


def asking(order: str, *, packed: bool = False) -> bytes:
    body = f"tag=t-1 {order}".encode()
    extra = b""
    if packed:
        body, extra = gzip.compress(body), b"Content-Encoding: gzip\r\n"
    return (
        b"POST /codeapi/chat_auth?ft_token=u_x HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n"
        % (extra, len(body))
    ) + body


async def received(
    reader: asyncio.StreamReader, within: float = LONGEST_WAIT, data: bytes = b""
) -> tuple[bytes, str]:
    """What comes, and how it ended: `end`, `reset`, or `open` after a whole answer or a time.

    data: what has come before.
    """
    try:
        async with asyncio.timeout(within):
            while not data.endswith(b"\r\n0\r\n\r\n"):
                part = await reader.read(4096)
                if not part:
                    return data, "end"
                data += part
    except ConnectionResetError:
        return data, "reset"
    except TimeoutError:
        pass
    return data, "open"


@pytest.mark.parametrize(
    ("order", "expected", "ending"),
    [
        ("", ANSWER, "open"),
        ("fault=refuse:0:1", b"", "reset"),
        ("fault=reset:60:1", ANSWER[:60], "reset"),
        ("fault=close:60:1", ANSWER[:60], "end"),
        ("fault=hang:60:1", ANSWER[:60], "open"),
        ("fault=garbage:60:1", ANSWER[:60] + GARBAGE + ANSWER[60:], "open"),
        ("fault=stall:60:1", ANSWER, "open"),
        ("fault=trickle:60:1", ANSWER, "open"),
        ("fault=reset:9999:1", ANSWER, "open"),
    ],
)
async def test_a_fault_does_what_it_says(
    fitten: tuple[PlainFitten, Proxy], order: str, expected: bytes, ending: str
) -> None:
    running_app, proxy = fitten
    kind = order.partition("=")[2].partition(":")[0]
    async with connected(proxy) as (reader, writer):
        writer.write(asking(order))
        if kind == "hang":
            data = await asyncio.wait_for(reader.readexactly(len(expected)), LONGEST_WAIT)
            data, how = await received(reader, 0.25, data)
        else:
            data, how = await received(reader)
    assert (data, how) == (expected, ending)
    (exchange,) = proxy.exchanges
    came_true = bool(kind) and "9999" not in order
    assert exchange.happened == came_true
    assert proxy.fault_counts == ({kind: 1} if came_true else {})
    assert len(running_app.heads) == (kind != "refuse")
    assert exchange.forwarded == (kind != "refuse")
    assert exchange.status == (200 if len(expected) >= len(HEAD) else 0)


async def test_the_emulator_gets_the_number_of_each_exchange(
    fitten: tuple[PlainFitten, Proxy],
) -> None:
    running_app, proxy = fitten
    async with connected(proxy) as (reader, writer):
        for number in range(3):
            writer.write(asking(""))
            await received(reader)
            assert f"{HEADER}: {number}\r\n".encode() in running_app.heads[number]
            assert running_app.bodies[number] == b"tag=t-1 "
    assert [exchange.user for exchange in proxy.exchanges] == ["u_x"] * 3


async def test_a_fault_happens_as_often_as_it_was_asked_for(
    fitten: tuple[PlainFitten, Proxy],
) -> None:
    _, proxy = fitten
    endings = []
    for _ in range(3):
        async with connected(proxy) as (reader, writer):
            writer.write(asking("fault=reset:60:2"))
            endings.append((await received(reader))[1])
    assert endings == ["reset", "reset", "open"]
    assert [exchange.harmed for exchange in proxy.exchanges] == [True, True, False]


async def test_a_fault_is_read_in_a_compressed_body_too(fitten: tuple[PlainFitten, Proxy]) -> None:
    _, proxy = fitten
    async with connected(proxy) as (reader, writer):
        writer.write(asking("fault=reset:10:1", packed=True))
        assert await received(reader) == (ANSWER[:10], "reset")
    (exchange,) = proxy.exchanges
    assert (exchange.tag, exchange.lost) == ("t-1", True)


async def test_only_connections_between_two_answers_are_idle(
    fitten: tuple[PlainFitten, Proxy],
) -> None:
    _, proxy = fitten
    async with connected(proxy) as (new, _), connected(proxy) as (used, writer):
        writer.write(asking(""))
        await received(used)
        assert proxy.drop_idle(hard=True) == 1
        assert await received(used) == (b"", "reset")
        assert (await received(new, 0.1))[1] == "open"
