"""Two entrypoints in one process: each has its sockets, its application and its limits."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from gateway.errors import GatewayError
from gateway.http.error_response import ErrorResponse
from gateway.server import listeners, single_process
from gateway.server.entrypoint import Entrypoint, open_entrypoint
from gateway.server.listeners import ListenerLimits
from tests.support import Gateway
from tests.waiting import LONGEST_WAIT, NEVER, eventually

WIDE = ListenerLimits(head_timeout=NEVER, write_timeout=NEVER / 60, max_connections=8)


def render(error: GatewayError) -> ErrorResponse:
    """Render an error as only the second listener does."""
    return ErrorResponse(error.status, {"X-Listener": "second"}, b'{"second": true}')


class Second:
    """A plain application with one route that answers, one that waits, and one that fails."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.waiting = 0
        self.release = asyncio.Event()
        self.app = web.Application()
        self.app.add_routes(
            [
                web.get("/second", self._answer),
                web.get("/wait", self._wait),
                web.get("/fail", self._fail),
            ]
        )
        self.app.cleanup_ctx.append(self._lifespan)

    async def _lifespan(self, _: web.Application) -> AsyncIterator[None]:
        self.events.append("started")
        yield
        self.events.append("closed")

    async def _answer(self, _: web.Request) -> web.Response:
        return web.Response(text="from the second")

    async def _wait(self, _: web.Request) -> web.Response:
        self.waiting += 1
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.events.append("cancelled")
            raise
        return web.Response(text="at last")

    async def _fail(self, _: web.Request) -> web.Response:
        raise RuntimeError("a text that nobody may see")


class Running:
    """An entrypoint that is stopped once, by the test or at its end."""

    def __init__(self, entrypoint: Entrypoint) -> None:
        self.entrypoint = entrypoint
        self.url = single_process.url_of_entrypoint(entrypoint)
        self._stopped = False

    async def stop(self, seconds: float = 0.1, others: Sequence[Running] = ()) -> None:
        running = [each for each in (self, *others) if not each._stopped]
        for each in running:
            each._stopped = True
        if running:
            first, *more = (each.entrypoint for each in running)
            await single_process.stop_entrypoint(first, seconds, others=more, grace=0)


@asynccontextmanager
async def opened(second: Second, limits: ListenerLimits = WIDE) -> AsyncIterator[Running]:
    """Open the second listener."""
    sockets = listeners.open_listeners("127.0.0.1", 0)
    running = Running(await open_entrypoint(second.app, sockets, render=render, limits=limits))
    try:
        yield running
    finally:
        await running.stop()


@asynccontextmanager
async def another(gateway: Gateway) -> AsyncIterator[Running]:
    """Start the gateway once more, to stop it in the test."""
    running = Running(await single_process.start_entrypoint(gateway.config))
    try:
        yield running
    finally:
        await running.stop()


@pytest.fixture
async def second() -> AsyncIterator[tuple[Second, str]]:
    app = Second()
    async with opened(app) as running:
        yield app, running.url


async def raw(url: str, sent: bytes) -> bytes:
    """Send bytes to a listener and return all that comes until it closes the connection."""
    reader, writer = await asyncio.open_connection(*address_of(url))
    writer.write(sent)
    async with asyncio.timeout(LONGEST_WAIT):
        received = await reader.read()
    writer.close()
    return received


async def test_each_listener_serves_its_own_application(
    gateway: Gateway, second: tuple[Second, str]
) -> None:
    _, url = second
    async with gateway.http.get(f"{url}/second") as response:
        assert (response.status, await response.text()) == (200, "from the second")
    async with gateway.http.get(f"{url}/v1/models") as response:
        assert response.status == 404
    assert (await gateway.whole("[[say]]"))[0] == 200
    for path in ("/second", "/wait", "/fail"):
        async with gateway.http.get(f"{gateway.url}{path}") as response:
            assert response.status == 404
            assert "error" in await response.json(), "the dialect of the gateway"


async def test_errors_without_a_route_are_rendered_by_the_function_of_the_listener(
    gateway: Gateway, second: tuple[Second, str]
) -> None:
    _, url = second
    broken = b"GET / HTTP/1.1\r\nno colon\r\n\r\n"
    answer = await raw(url, broken)
    assert answer.split()[1] == b"400"
    assert b"X-Listener: second" in answer
    assert answer.endswith(b'{"second": true}')
    of_gateway = await raw(gateway.url, broken)
    assert of_gateway.split()[1] == b"400"
    assert b"second" not in of_gateway
    assert b'"error"' in of_gateway
    async with gateway.http.get(f"{url}/fail") as response:
        assert (response.status, await response.json()) == (500, {"second": True})


async def test_each_listener_has_its_own_limits(gateway: Gateway) -> None:
    limits = ListenerLimits(head_timeout=0.05, write_timeout=NEVER / 60, max_connections=1)
    head = b"GET /second HTTP/1.1\r\nHost: x\r\n"
    async with opened(Second(), limits) as running:
        slow, slow_writer = await asyncio.open_connection(*address_of(gateway.url))
        slow_writer.write(head)
        timed_out = await raw(running.url, head)
        assert timed_out.startswith(b"HTTP/1.1 408 ")
        assert b"X-Listener: second" in timed_out
        slow_writer.write(b"\r\n")
        async with asyncio.timeout(LONGEST_WAIT):
            status = await slow.readline()
        assert status.startswith(b"HTTP/1.1 401 "), "the head of a request to the first may be slow"
        slow_writer.close()

        with socket.create_connection(address_of(running.url)):
            await eventually(lambda: running.entrypoint._context.limit.full)
            refused = await raw(running.url, head)
            assert refused.startswith(b"HTTP/1.1 503 ")
            assert b"X-Listener: second" in refused
            assert (await gateway.whole("[[say]]"))[0] == 200, "the first accepts more"


async def test_both_drain_at_the_same_time_and_close(gateway: Gateway) -> None:
    second = Second()
    async with opened(second) as other, another(gateway) as first:
        waiting = asyncio.create_task(text_of(gateway.http, f"{other.url}/wait"))
        await eventually(lambda: second.waiting)
        stopping = asyncio.create_task(first.stop(LONGEST_WAIT, [other]))
        await eventually(lambda: not listens(first.url) and not listens(other.url))
        assert not stopping.done(), "a request of the second is open"
        assert second.events == ["started"]
        second.release.set()
        assert await waiting == "at last"
        await asyncio.wait_for(stopping, LONGEST_WAIT)
    assert second.events == ["started", "closed"]


async def test_what_does_not_end_in_time_is_cancelled_in_both(gateway: Gateway) -> None:
    second = Second()
    body = {"messages": [{"role": "user", "content": "[[endless]]"}], "stream": True}
    async with opened(second) as other, another(gateway) as first:
        async with gateway.http.post(f"{first.url}/v1/chat/completions", json=body) as response:
            await response.content.readany()
            waiting = asyncio.create_task(text_of(gateway.http, f"{other.url}/wait"))
            await eventually(lambda: second.waiting)
            await first.stop(0.05, [other])
            assert b'"code":"draining"' in await response.read()
        with pytest.raises(aiohttp.ClientError):
            await waiting
    assert second.events == ["started", "cancelled", "closed"]


async def test_an_application_that_cannot_start_leaves_nothing_open(gateway: Gateway) -> None:
    async def fails(_: web.Application) -> None:
        raise OSError(28, "No space left on device")

    app = web.Application()
    app.on_startup.append(fails)
    sockets = listeners.open_listeners("127.0.0.1", 0)
    with pytest.raises(OSError, match="No space left"):
        await open_entrypoint(app, sockets, render=render, limits=WIDE)
    assert [sock.fileno() for sock in sockets] == [-1] * len(sockets)
    assert (await gateway.whole("[[say]]"))[0] == 200


async def text_of(http: aiohttp.ClientSession, url: str) -> str:
    async with http.get(url) as response:
        return await response.text()


def address_of(url: str) -> tuple[str, int]:
    host, port = url.removeprefix("http://").split(":")
    return host, int(port)


def listens(url: str) -> bool:
    """Return whether a connection to this URL is accepted."""
    try:
        socket.create_connection(address_of(url), timeout=LONGEST_WAIT).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_the_host_of_all_addresses_takes_both_families(address: str) -> None:
    sockets = listeners.open_listeners("::", 0)
    try:
        port = sockets[0].getsockname()[1]
        families = {sock.family for sock in sockets}
        assert families == {socket.AF_INET, socket.AF_INET6}
        assert {sock.getsockname()[1] for sock in sockets} == {port}
        with socket.create_connection((address, port), timeout=LONGEST_WAIT) as connection:
            assert connection.getpeername()[0] == address
    finally:
        listeners.close_listeners(sockets)
