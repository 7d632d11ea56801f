"""`python -m gateway serve` as a process: signals, open streams, exit status."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from emulator import Emulator
from tests.integration.conftest import Connect
from tests.integration.peer import Peer, chat_body, chat_head, chat_request
from tests.support import USUAL_MIDDLEWARES
from tests.waiting import LONGEST_WAIT, NEVER

STREAM = chat_request("[[slow first=0 gap=3600 n=2]]", stream=True)
# As `-m gateway`, with connections that wait for another request until it comes.
WAITING_FOR_REQUESTS = """
import sys
from gateway import cli
from gateway.server import single_process
single_process.stop_entrypoint.__kwdefaults__["grace"] = 3600.0
sys.exit(cli.main())
"""
ENDLESS = chat_request("[[endless]]", stream=True)


class ServeProcess:
    """A running gateway; what it logs is JSON lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.url = ""
        self.lines: list[Any] = []

    async def event(self, name: str) -> Any:
        """The next log line of that name."""
        assert self._process.stderr is not None
        async with asyncio.timeout(LONGEST_WAIT):
            async for raw in self._process.stderr:
                line = json.loads(raw)
                self.lines.append(line)
                if line["event"] == name:
                    return line
        raise AssertionError(f"no line {name!r} in {self.lines}")

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    async def exit_status(self) -> int:
        status = await asyncio.wait_for(self._process.wait(), LONGEST_WAIT)
        assert self._process.stderr is not None
        self.lines += [json.loads(raw) for raw in (await self._process.stderr.read()).splitlines()]
        return status


@asynccontextmanager
async def process(
    emulator: Emulator, folder: Path, drain_timeout: float, started: Sequence[str]
) -> AsyncIterator[ServeProcess]:
    config = {
        "server": {"port": 0, "drain_timeout": drain_timeout},
        "fitten": {
            "base_url": emulator.url,
            "models_url": emulator.url,
            "accounts": [{"username": "demo_user", "password": "correct horse"}],
            "state_file": str(folder / "fitten.json"),
        },
        "log": {"format": "json"},
        "middlewares": USUAL_MIDDLEWARES,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    command = [sys.executable, *started, "serve", "--config", str(path)]
    child = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    running = ServeProcess(child)
    try:
        running.url = (await running.event("listening"))["url"]
        yield running
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()
        child._transport.close()  # type: ignore[attr-defined]  # else it warns when collected


Serve = Callable[..., Awaitable[ServeProcess]]


@pytest.fixture
async def serve(emulator: Emulator, tmp_path: Path) -> AsyncIterator[Serve]:
    """Starts a gateway as a process of its own."""
    async with AsyncExitStack() as stack:

        async def start(
            *, drain_timeout: float = NEVER, started: Sequence[str] = ("-m", "gateway")
        ) -> ServeProcess:
            running = process(emulator, tmp_path, drain_timeout, started)
            return await stack.enter_async_context(running)

        yield start


async def begun(peer: Peer, request: bytes) -> None:
    """Return a stream whose first piece has arrived."""
    await peer.send(request)
    assert (await peer.head())[0] == 200
    await peer.until(b"w0 ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_an_idle_gateway_ends_at_once_with_status_0(
    serve: Serve, connect: Connect, number: int
) -> None:
    gateway = await serve()
    idle = await connect(gateway.url)
    await idle.send(chat_request("[[say]]"))
    assert (await idle.answer()).status == 200  # and the connection is kept alive
    gateway.signal(number)
    assert await gateway.exit_status() == 0
    assert await idle.rest() == b""
    assert not [line for line in gateway.lines if line["level"] in ("error", "critical")]
    assert gateway.lines[-1]["event"] == "stopped"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_an_open_stream_is_finished_and_each_connection_gets_its_last_answer(
    serve: Serve, connect: Connect, emulator: Emulator, number: int
) -> None:
    gateway = await serve()
    kept_alive = await connect(gateway.url)
    await kept_alive.send(chat_request("[[say]]"))
    assert (await kept_alive.answer()).status == 200
    open_stream = await connect(gateway.url)
    await begun(open_stream, STREAM)
    gateway.signal(number)
    await gateway.event("draining")

    await kept_alive.send(chat_request("[[say]]"))
    last = await kept_alive.answer()
    assert last.status == 200
    assert last.headers["connection"].lower() == "close"
    assert await kept_alive.rest() == b""
    with pytest.raises(ConnectionError):
        await connect(gateway.url)

    emulator.release()
    rest = await open_stream.rest()
    assert b"w1 " in rest
    assert b"data: [DONE]\n\n" in rest
    assert rest.endswith(b"0\r\n\r\n")
    assert await gateway.exit_status() == 0


async def test_a_connection_that_is_silent_when_the_end_is_asked_for_is_served(
    serve: Serve, connect: Connect
) -> None:
    """It may have been accepted in the last moment, with its request on the way."""
    gateway = await serve(started=("-c", WAITING_FOR_REQUESTS))
    silent = await connect(gateway.url)
    gateway.signal(signal.SIGTERM)
    await gateway.event("draining")
    await silent.send(chat_request("[[say]]"))
    assert (await silent.answer()).status == 200
    assert await gateway.exit_status() == 0


async def test_a_draining_gateway_is_alive_but_not_ready(serve: Serve, connect: Connect) -> None:
    gateway = await serve()
    probes = [await connect(gateway.url) for _ in range(2)]
    for probe in probes:
        await probe.send(b"GET /health HTTP/1.1\r\nHost: gateway\r\n\r\n")
        assert (await probe.answer()).status == 200
    await begun(await connect(gateway.url), STREAM)
    gateway.signal(signal.SIGTERM)
    await gateway.event("draining")
    for probe, path, status in zip(probes, ("health", "ready"), (200, 503), strict=True):
        await probe.send(f"GET /{path} HTTP/1.1\r\nHost: gateway\r\n\r\n".encode())
        assert (await probe.answer()).status == status


async def test_a_second_signal_ends_the_process_at_once(serve: Serve, connect: Connect) -> None:
    gateway = await serve()
    peer = await connect(gateway.url)
    await begun(peer, ENDLESS)
    gateway.signal(signal.SIGTERM)
    await gateway.event("draining")
    gateway.signal(signal.SIGTERM)
    assert await gateway.exit_status() != 0


async def test_streams_that_outlast_the_drain_time_are_ended(
    serve: Serve, connect: Connect, emulator: Emulator
) -> None:
    gateway = await serve(drain_timeout=0.3)
    peer = await connect(gateway.url)
    await begun(peer, ENDLESS)
    gateway.signal(signal.SIGTERM)
    rest = await peer.rest()
    assert await gateway.exit_status() == 0
    assert b"[DONE]" not in rest
    assert b'"finish_reason":"stop"' not in rest
    (call,) = emulator.calls_to("/codeapi/chat_auth")
    await asyncio.wait_for(call.closed.wait(), LONGEST_WAIT)
    (line,) = [line for line in gateway.lines if line["event"] == "request"]
    assert line["end"] != "complete"


async def test_a_client_that_does_not_read_does_not_keep_the_process_alive(
    serve: Serve, connect: Connect
) -> None:
    gateway = await serve(drain_timeout=0.3)
    peer = await connect(gateway.url, receive_buffer=4096)
    await peer.send(chat_request("[[endless size=50000 pace=0]]", stream=True))
    assert (await peer.head())[0] == 200
    gateway.signal(signal.SIGTERM)
    assert await gateway.exit_status() == 0


async def test_a_request_whose_body_is_under_way_is_served(serve: Serve, connect: Connect) -> None:
    gateway = await serve()
    body = chat_body("[[say]]")
    head = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    peer = await connect(gateway.url)
    await peer.send(chat_head({**head, "Expect": "100-continue"}))
    assert (await peer.head())[0] == 100
    await peer.send(body[:-10])
    gateway.signal(signal.SIGTERM)
    await gateway.event("draining")
    await peer.send(body[-10:])
    assert (await peer.answer()).status == 200
    assert await gateway.exit_status() == 0
