"""What the gateway uses of aiohttp without a promise is there, and works as needed.

When aiohttp changes one of these names, the failure is a sentence that says what used it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import inspect
import socket
import subprocess
import sys
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import aiohttp_sse
import pytest
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from gateway import aiohttp_internals as internals
from gateway.aiohttp_internals import INTERNALS, Internal, ServerConnection
from tests.test_arrows import ROOT
from tests.waiting import LONGEST_WAIT, eventually

REQUEST = b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n"

CONTRACTS: dict[str, Callable[..., Any]] = {}


def named(name: str) -> Internal:
    return next(internal for internal in INTERNALS if str(internal) == name)


@contextlib.contextmanager
def needed(*names: str) -> Iterator[None]:
    """Say which names no longer do what the gateway needs, if the block fails."""
    try:
        yield
    except Exception as error:
        text = " ".join(named(name).sentence("behaves differently in") for name in names)
        pytest.fail(f"{text} The check failed with {type(error).__name__}: {error}")


def contract(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a test as the one of these names; it fails with their sentence."""

    def decorate(test: Callable[..., Any]) -> Callable[..., Any]:
        CONTRACTS.update(dict.fromkeys(names, test))

        @functools.wraps(test)
        async def checked(**fixtures: Any) -> None:
            with needed(*names):
                async with asyncio.timeout(LONGEST_WAIT):
                    await test(**fixtures)

        return checked

    return decorate


class Watched(ServerConnection):
    """A connection that counts how often reading was paused, and keeps what was broken."""

    __slots__ = ("broken", "counts", "paused")

    def __init__(self, manager: Any, **options: Any) -> None:
        super().__init__(manager, **options)
        self.paused = 0
        self.counts: list[tuple[int, int]] = []
        self.broken: BaseException | None = None

    def on_reading_paused(self) -> None:
        self.paused += 1

    def data_received(self, data: bytes) -> None:
        before = self.request_count
        super().data_received(data)
        self.counts.append((before, self.request_count))

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        self.broken = exc
        return web.Response(status=status)


class WatchedServer(web.Server):
    def __call__(self) -> web.RequestHandler:
        return Watched(self, loop=asyncio.get_running_loop(), access_log=None)


class Served:
    """A client and its connection at a server, whose handler waits for `answer`."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.answer: asyncio.Future[web.StreamResponse] = asyncio.Future()
        self.server = WatchedServer(self.handle)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.begun.set()
        return await self.answer

    @property
    def connection(self) -> Watched:
        connection = self.server.connections[0]
        assert isinstance(connection, Watched)
        return connection

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    served = Served()
    runner = web.ServerRunner(served.server, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    served.reader, served.writer = await asyncio.open_connection(*runner.addresses[0])
    await eventually(lambda: len(served.server.connections) == 1)
    yield served
    served.writer.close()
    await runner.cleanup()


@contract("RequestHandler._waiter")
async def test_the_waiter_is_pending_until_a_request_arrives(served: Served) -> None:
    waiter = served.connection.request_waiter
    assert waiter is not None
    states = [waiter.done()]
    await served.send(REQUEST[:10])
    await eventually(lambda: len(served.connection.counts) == 1)
    states += [waiter.done(), served.connection.request_waiter is waiter]
    await served.send(REQUEST[10:])
    await served.begun.wait()
    states.append(waiter.done())
    assert states == [False, False, True, True]
    assert served.connection.request_waiter is None


@contract("RequestHandler._request_count")
async def test_the_count_of_requests_rises_as_soon_as_a_head_is_complete(served: Served) -> None:
    await served.send(REQUEST[:10])
    await eventually(lambda: len(served.connection.counts) == 1)
    await served.send(REQUEST[10:])
    await served.begun.wait()
    assert served.connection.counts == [(0, 0), (0, 1)]


class _SlowEnd(web.Response):
    """An answer whose end is sent when it is allowed."""

    def __init__(self) -> None:
        super().__init__(text="late")
        self.ending, self.allowed = asyncio.Event(), asyncio.Event()

    async def write_eof(self, data: bytes = b"") -> None:
        self.ending.set()
        await self.allowed.wait()
        await super().write_eof(data)


@contract("RequestHandler._request_in_progress")
async def test_an_answer_counts_as_being_sent_after_its_handler_ended(served: Served) -> None:
    def sends_answer() -> bool:
        return served.connection.sends_answer

    answer = _SlowEnd()
    assert not sends_answer()
    await served.send(REQUEST)
    await served.begun.wait()
    served.answer.set_result(answer)
    await answer.ending.wait()
    assert sends_answer()
    answer.allowed.set()
    await eventually(lambda: not sends_answer())
    assert (await served.reader.readuntil(b"late")).startswith(b"HTTP/1.1 200")


@contract("RequestHandler._messages")
async def test_requests_that_were_sent_ahead_are_counted(served: Served) -> None:
    await served.send(REQUEST * 3)
    await served.begun.wait()
    assert len(served.connection.requests_ahead) == 2


@contract("RequestHandler._reading_paused")
async def test_a_body_that_nobody_reads_pauses_reading(served: Served) -> None:
    assert not served.connection.reading_paused
    size = 4 * 1024 * 1024
    head = b"POST / HTTP/1.1\r\nHost: gateway\r\nContent-Length: %d\r\n\r\n" % size
    served.writer.write(head + bytes(size))
    await eventually(lambda: served.connection.reading_paused)
    assert served.connection.paused >= 1
    assert not served.connection.requests_ahead


@contract("RequestHandler._buffer_paused", "RequestHandler._pause_reading_for_buffer")
async def test_too_many_requests_ahead_pause_reading(served: Served) -> None:
    for _ in range(200):
        served.writer.write(REQUEST * 100)
    await eventually(lambda: served.connection.reading_paused)
    assert served.connection.paused >= 1
    assert served.connection.requests_ahead


@contract("aiohttp.http_exceptions.HttpProcessingError")
async def test_broken_http_has_one_base_of_errors(served: Served) -> None:
    connection = served.connection
    await served.send(b"GET / HTTP/1.1\r\nno colon\r\n\r\n")
    await eventually(lambda: connection.broken is not None)
    assert isinstance(connection.broken, internals.BrokenHttp)


class _OwnAcceptor:
    def __init__(self, listening: socket.socket) -> None:
        self.sockets, self.closed = [listening], False

    def close(self) -> None:
        self.closed = True


class _SiteOfOwn(internals.SiteOfAcceptor):
    @property
    def name(self) -> str:
        return "a site"

    async def start(self) -> None:
        await super().start()


@contract("BaseSite._server")
async def test_a_site_shows_and_closes_an_acceptor_of_our_own(served: Served) -> None:
    runner = web.ServerRunner(served.server)
    await runner.setup()
    site = _SiteOfOwn(runner)
    await site.start()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        acceptor = _OwnAcceptor(listening)
        site.use_acceptor(acceptor)
        assert runner.addresses == [listening.getsockname()]
        await site.stop()
    assert acceptor.closed


async def answer_of(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> str:
    """Post `{}` to a handler and return the answer."""
    app = web.Application()
    app.router.add_post("/", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        async with aiohttp.ClientSession() as http:
            url = f"http://{host}:{port}/"
            async with http.post(url, data=b"{}", headers={"X-Other": "kept"}) as response:
                return await response.text()
    finally:
        await runner.cleanup()


@contract("BaseRequest._read_bytes")
async def test_a_body_that_was_set_is_the_one_that_is_read() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        assert await request.content.read() == b"{}"
        internals.set_body(request, b'{"a": 1}')
        assert request.body_exists
        assert await request.json() == {"a": 1}
        return web.Response(body=await request.read())

    assert await answer_of(handler) == '{"a": 1}'


@contract("StreamResponse._send_headers_immediately")
async def test_headers_wait_for_the_first_write() -> None:
    class Deferred(internals.HeadersWithFirstWrite, aiohttp_sse.EventSourceResponse):
        async def prepare(self, request: web.BaseRequest) -> Any:
            return await web.StreamResponse.prepare(self, request)

    async def handler(request: web.Request) -> web.StreamResponse:
        response = Deferred(allow_all_methods=True)
        await response.prepare(request)
        sent_before = request.writer.output_size
        await response.write(f"{sent_before} bytes".encode())
        assert request.writer.output_size > 0
        return response

    assert await answer_of(handler) == "0 bytes"


@contract("aiohttp.http_parser.RawRequestMessage")
async def test_a_message_with_other_headers_keeps_the_rest() -> None:
    seen: list[tuple[Any, ...]] = []

    def make(message: Any, *rest: Any) -> web.BaseRequest:
        headers = CIMultiDict(message.headers)
        headers["X-New"] = headers.pop("X-Other")
        changed = internals.with_headers(message, CIMultiDictProxy(headers))
        changed = internals.with_url(changed, changed.url.with_path("/elsewhere"))
        payload, protocol, writer, task = rest
        loop = asyncio.get_running_loop()
        return web.BaseRequest(changed, payload, protocol, writer, task, loop)

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        seen.append((request.method, request.path, request.version, request.keep_alive))
        seen.append((request.headers["X-New"], "X-Other" in request.headers))
        return web.Response(text=(await request.read()).decode())

    server = web.Server(handler, request_factory=make)
    runner = web.ServerRunner(server)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        async with (
            aiohttp.ClientSession(headers={"X-Other": "kept"}) as http,
            http.put(f"http://{host}:{port}/a?b", data=b"body") as response,
        ):
            assert await response.text() == "body"
    finally:
        await runner.cleanup()
    assert seen == [("PUT", "/elsewhere", aiohttp.HttpVersion11, True), ("kept", False)]


@contract("aiohttp.web_app._cached_build_middleware")
async def test_an_application_is_freed_when_the_chains_are_forgotten() -> None:
    @web.middleware
    async def middleware(request: web.Request, handler: Any) -> web.StreamResponse:
        answer: web.StreamResponse = await handler(request)
        return answer

    class Handler:
        async def __call__(self, request: web.Request) -> web.StreamResponse:
            return web.Response()

        async def answer(self, request: web.Request) -> web.StreamResponse:
            return web.Response()

    async def used() -> weakref.ref[Any]:
        handler = Handler()
        app = web.Application(middlewares=[middleware])
        app.router.add_get("/", handler.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        async with aiohttp.ClientSession() as http, http.get(f"http://{host}:{port}/") as response:
            assert response.status == 200
        await runner.cleanup()
        return weakref.ref(handler)

    handler = await used()
    internals.forget_middleware_chains()
    for _ in range(3):
        await asyncio.sleep(0)
        gc.collect()
    assert handler() is None


@contract("aiohttp.connector.Connection")
async def test_a_connector_lends_its_connection_again(served: Served) -> None:
    host, port = served.writer.get_extra_info("peername")
    async with aiohttp.ClientSession() as http:
        assert http.connector is not None
        request = aiohttp.ClientRequest(
            "GET",
            URL(f"http://{host}:{port}/"),
            loop=asyncio.get_running_loop(),
            session=http,
        )
        first = await http.connector.connect(request, [], http.timeout)
        assert isinstance(first, internals.PooledConnection)
        transport = first.transport
        assert transport is not None
        assert transport.get_protocol() is first.protocol
        first.release()
        again = await http.connector.connect(request, [], http.timeout)
        assert again.transport is transport
        again.close()
        await eventually(transport.is_closing)


def test_every_name_has_a_contract() -> None:
    assert sorted(CONTRACTS) == sorted(map(str, INTERNALS))


def test_no_name_is_missing_in_the_installed_aiohttp() -> None:
    assert internals.missing() == []


def owner_of(internal: Internal) -> Any:
    """The class that defines the name: the named owner may inherit it."""
    if not inspect.isclass(internal.owner):
        return internal.owner
    return next(one for one in internal.owner.__mro__ if internal.name in vars(one))


@pytest.mark.parametrize("internal", INTERNALS, ids=str)
def test_a_name_that_is_gone_is_reported_in_a_sentence(
    internal: Internal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(owner_of(internal), internal.name)
    assert internals.missing() == [
        f"aiohttp {aiohttp.__version__} no longer has {internal}: gateway/aiohttp_internals.py "
        f"uses it to {internal.purpose}."
    ]


def test_the_gateway_does_not_start_without_a_name() -> None:
    script = (
        "from aiohttp import web; del web.RequestHandler._waiter; import gateway.server.connection"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == (
        f"ImportError: aiohttp {aiohttp.__version__} no longer has RequestHandler._waiter: "
        "gateway/aiohttp_internals.py uses it to see whether a connection waits for a request."
    )


async def test_a_name_with_another_behaviour_is_reported_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def read(self: web.BaseRequest) -> bytes:
        return b"not what was set"

    monkeypatch.setattr(web.BaseRequest, "read", read)
    with pytest.raises(pytest.fail.Exception) as failure:
        await test_a_body_that_was_set_is_the_one_that_is_read()
    assert "behaves differently in BaseRequest._read_bytes: gateway/aiohttp_internals.py uses" in (
        str(failure.value)
    )
