"""A chat's exchange on a pooled connection: reuse, back-pressure, faults; real sockets."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from gateway.config import settings as config
from gateway.errors import UpstreamError
from gateway.fitten.client import FittenClient
from gateway.fitten.http.response_body import ResponseBody
from tests.waiting import LONGEST_WAIT

CERTIFICATE = Path(__file__).parents[3] / "faults" / "untrusted.pem"
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
OK = HEAD + b'd\r\n{"delta":"x"}\r\n1\r\n\n\r\n0\r\n\r\n'

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class ScriptedUpstream:
    """A bare server that runs a function for each connection."""

    def __init__(self) -> None:
        self.connections = 0
        self.heads: list[bytes] = []
        self.ended = asyncio.Event()

    @asynccontextmanager
    async def client(
        self, serve_connection: Serve, *, tls: bool = False
    ) -> AsyncIterator[FittenClient]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            try:
                await serve_connection(reader, writer)
            except ConnectionError:
                pass
            finally:
                self.ended.set()
                writer.close()

        context = None
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE)
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        scheme = "https" if tls else "http"
        url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ca_file = str(CERTIFICATE) if tls else None
        client = FittenClient(config.FittenSettings(accounts=(), base_url=url, ca_file=ca_file))
        try:
            async with client.open():
                yield client
        finally:
            server.close()
            await server.wait_closed()

    async def request(self, reader: asyncio.StreamReader) -> bytes:
        """The body of the next request; ConnectionError when there is none."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            raise ConnectionResetError from None
        self.heads.append(head)
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return await reader.readexactly(length)


async def read_all(body: ResponseBody) -> bytes:
    got = []
    while not body.at_end():
        got.append(await body.read())
    return b"".join(got)


async def test_one_connection_carries_one_chat_after_another() -> None:
    upstream = ScriptedUpstream()

    async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await upstream.request(reader)
            writer.write(OK)

    async with upstream.client(serve_connection) as client:
        for _ in range(3):
            body = await client.chat("me", "token", b"{}")
            assert await read_all(body) == b'{"delta":"x"}\n'
            assert body.framed
            body.close()
    assert upstream.connections == 1
    assert upstream.heads[0].startswith(
        b"POST /codeapi/chat_auth?ft_token=me HTTP/1.1\r\nHost: 127"
    )
    assert b"\r\nAuthorization: Bearer token\r\n" in upstream.heads[0]
    assert upstream.heads[0].lower().count(b"content-length") == 1


async def test_a_connection_closed_while_it_was_idle_costs_one_repeat() -> None:
    upstream = ScriptedUpstream()

    async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.request(reader)
        writer.write(OK)
        if upstream.connections == 1:
            await upstream.request(reader)  # and closes without a word
            return
        await reader.read()

    async with upstream.client(serve_connection) as client:
        for _ in range(2):
            body = await client.chat("me", "token", b"{}")
            assert await read_all(body) == b'{"delta":"x"}\n'
            body.close()
    assert len(upstream.heads) == 3


async def stale_everywhere(upstream: ScriptedUpstream, client: FittenClient) -> None:
    """Three pooled connections, each of which closes when it is used again."""
    bodies = await asyncio.gather(*(client.chat("me", "token", b"{}") for _ in range(3)))
    for body in bodies:
        await read_all(body)
        body.close()
    assert upstream.connections == 3


def once_each(upstream: ScriptedUpstream) -> Serve:
    """Answers one request on each connection; the first three at once, so that none is shared."""
    together = asyncio.Barrier(3)

    async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = upstream.connections
        await upstream.request(reader)
        if number <= 3:
            await together.wait()
        writer.write(OK)
        await upstream.request(reader)  # and closes without a word

    return serve_connection


async def test_the_repeat_does_not_meet_another_connection_that_was_closed_meanwhile() -> None:
    """An upstream that restarts closes all pooled connections at once."""
    upstream = ScriptedUpstream()
    async with upstream.client(once_each(upstream)) as client:
        await stale_everywhere(upstream, client)
        body = await client.chat("me", "token", b"{}")
        assert await read_all(body) == b'{"delta":"x"}\n'
        body.close()
    assert len(upstream.heads) == 5


async def test_a_completion_on_a_connection_that_was_closed_is_repeated_too() -> None:
    upstream = ScriptedUpstream()
    async with upstream.client(once_each(upstream)) as client:
        await stale_everywhere(upstream, client)
        answer = await client.complete("", "me", "token", {"inputs": ""})
    assert answer == {"delta": "x"}
    assert len(upstream.heads) == 5


async def test_closing_before_the_end_closes_the_connection() -> None:
    upstream = ScriptedUpstream()

    async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.request(reader)
        writer.write(HEAD + b"1\r\nx\r\n")
        await reader.read()

    async with upstream.client(serve_connection) as client:
        body = await client.chat("me", "token", b"{}")
        assert await body.read() == b"x"
        body.close()
        async with asyncio.timeout(LONGEST_WAIT):
            await upstream.ended.wait()


async def test_a_cancelled_wait_for_headers_closes_the_connection() -> None:
    upstream = ScriptedUpstream()
    asked = asyncio.Event()

    async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.request(reader)
        asked.set()
        await reader.read()

    async with upstream.client(serve_connection) as client:
        waiting = asyncio.create_task(client.chat("me", "token", b"{}"))
        await asked.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        async with asyncio.timeout(LONGEST_WAIT):
            await upstream.ended.wait()


async def test_a_deadline_ends_the_wait_for_headers() -> None:
    upstream = ScriptedUpstream()

    async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with upstream.client(serve_connection) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.chat("me", "token", b"{}")
        await upstream.ended.wait()


async def test_a_deadline_ends_a_body_that_is_not_taken_and_leaves_nothing_open() -> None:
    upstream = ScriptedUpstream()
    cut = asyncio.Event()

    async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await cut.wait()  # without reading
        await reader.read()

    async with upstream.client(serve_connection) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.chat("me", "token", bytes(20_000_000))
        cut.set()
        async with asyncio.timeout(LONGEST_WAIT):
            await upstream.ended.wait()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_a_reader_that_pauses_stops_the_upstream_and_loses_nothing(tls: bool) -> None:
    upstream = ScriptedUpstream()
    sent = 0
    total = 30_000_000

    async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await upstream.request(reader)
        writer.write(HEAD)
        while sent < total:
            block = (sent // 10_000).to_bytes(4, "big") * 2500
            writer.write(b"2710\r\n" + block + b"\r\n")
            await writer.drain()
            sent += len(block)
        writer.write(b"0\r\n\r\n")
        await reader.read()

    async with upstream.client(serve_connection, tls=tls) as client:
        body = await client.chat("me", "token", b"{}")
        before = -1
        while sent > before:  # until it waits
            before = sent
            await asyncio.sleep(0.2)
        assert 0 < sent < total
        expected = (number.to_bytes(4, "big") * 2500 for number in range(total // 10_000))
        assert await read_all(body) == b"".join(expected)
        body.close()


@pytest.mark.parametrize("end", [b"", b"2\r\nab", b"2\r\nabxx", b"zz\r\n"])
async def test_a_body_that_breaks_off_gives_what_came_and_then_an_error(end: bytes) -> None:
    upstream = ScriptedUpstream()

    async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.request(reader)
        writer.write(HEAD + b"1\r\nx\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(end)

    async with upstream.client(serve_connection) as client:
        body = await client.chat("me", "token", b"{}")
        assert await body.read() == b"x"
        with pytest.raises(aiohttp.ClientPayloadError):
            await read_all(body)
        body.close()


@pytest.mark.parametrize("answer", [b"", b"rubbish\r\n\r\n", b"HTTP/1.1 200"])
async def test_no_response_at_all_is_an_upstream_error(answer: bytes) -> None:
    upstream = ScriptedUpstream()

    async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.request(reader)
        writer.write(answer)

    async with upstream.client(serve_connection) as client:
        with pytest.raises(UpstreamError):
            await client.chat("me", "token", b"{}")


async def test_what_is_taken_is_not_read_and_wakes_the_reader_only_on_request() -> None:
    upstream = ScriptedUpstream()
    turn = asyncio.Event()

    async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.request(reader)
        for piece in (b"a", b"b", b"c"):
            writer.write((HEAD if piece == b"a" else b"") + b"1\r\n" + piece + b"\r\n")
            await turn.wait()
            turn.clear()
        writer.write(b"0\r\n\r\n")
        await reader.read()

    taken: list[bytes] = []

    def take(data: bytes) -> None:
        taken.append(data)
        turn.set()
        if data == b"c":
            body.wake()

    async with upstream.client(serve_connection) as client:
        body = await client.chat("me", "token", b"{}")
        assert await body.read() == b"a"
        body.take = take
        turn.set()
        assert await body.read() == b""
        assert taken == [b"b", b"c"]
        assert await body.read() == b""
        assert body.at_end()
        body.close()
