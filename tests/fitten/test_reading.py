"""The reader that leans on aiohttp's insides."""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer

from gateway.fitten.reading import BulkReader

_CHUNKS = [bytes([65 + i % 26]) * (1 + i % 700) for i in range(2000)]


async def _chunked(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for chunk in _CHUNKS:
        await response.write(chunk)
    return response


async def _response(
    session: aiohttp.ClientSession, server: BaseTestServer
) -> aiohttp.ClientResponse:
    return await session.get(server.make_url("/"))


async def _read(
    session: aiohttp.ClientSession, server: BaseTestServer, *, bulk: bool
) -> list[bytes]:
    async with await _response(session, server) as response:
        if bulk:
            BulkReader.take_over(response)
            assert type(response.content) is BulkReader
        reads = []
        while data := await response.content.readany():
            reads.append(data)
        assert response.content.at_eof()
        return reads


async def test_all_of_a_body_comes_in_order_whoever_reads_it() -> None:
    app = web.Application()
    app.router.add_get("/", _chunked)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        theirs = await _read(session, server, bulk=False)
        ours = await _read(session, server, bulk=True)
    assert b"".join(ours) == b"".join(theirs) == b"".join(_CHUNKS)


async def test_a_connection_is_used_again_after_its_body_was_read_in_bulk() -> None:
    app = web.Application()
    app.router.add_get("/", _chunked)
    ports = set()
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        for _ in range(3):
            async with await _response(session, server) as response:
                assert response.connection is not None
                assert response.connection.transport is not None
                ports.add(response.connection.transport.get_extra_info("sockname"))
                BulkReader.take_over(response)
                while await response.content.readany():
                    pass
    assert len(ports) == 1


async def test_a_body_that_nobody_reads_stops_the_sender() -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 10_000)
            sent += 10_000

    app = web.Application()
    app.router.add_get("/", endless)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        response = await _response(session, server)
        BulkReader.take_over(response)
        first = await response.content.readany()
        assert first
        before = -1
        while before != sent:
            before = sent
            await _pause()
        assert sent < 32 * 1024 * 1024
        for _ in range(200):
            assert await response.content.readany()
        await _pause()
        assert sent > before, "reading lets it go on"
        response.close()


async def _pause() -> None:
    await asyncio.sleep(0.1)
