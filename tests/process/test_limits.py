"""What one process can hold: descriptors and memory, counted from outside; and that its
limits hold on sockets that were handed over, and follow a reload."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from pathlib import Path

import pytest

from emulator import Emulator
from gateway.server.connection_limit import raise_descriptor_limit
from tests.faults.upstream import FaultyFitten
from tests.integration.conftest import Connect
from tests.integration.peer import (
    UPSTREAM_CHAT,
    Peer,
    chat_body,
    chat_head,
    chat_request,
    chunked,
)
from tests.process.conftest import Configure, keys
from tests.process.systemd import FakeSystemd, GatewayService
from tests.support import KEY
from tests.waiting import NEVER, eventually

MB = 1024 * 1024
FEW_FILES = ("/bin/sh", "-c", 'ulimit -n 256; exec "$@"', "sh")
HEALTH = b"GET /health HTTP/1.1\r\nHost: gateway\r\n\r\n"
ANSWER_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UPLOAD = chat_head({"Content-Type": "application/json", "Transfer-Encoding": "chunked"})


@pytest.fixture(autouse=True)
def many_files() -> None:
    """Allow this process, too, more descriptors than the usual 1024."""
    raise_descriptor_limit()


def memory(service: GatewayService, what: str = "VmRSS") -> int:
    """Return the memory of a process in bytes: now, or at its highest (`VmHWM`)."""
    status = Path(f"/proc/{service.pid}/status").read_text()
    found = re.search(rf"^{what}:\s+(\d+) kB", status, re.M)
    assert found is not None
    return int(found[1]) * 1024


def files(service: GatewayService) -> int:
    """Return how many descriptors it has."""
    return len(list(Path(f"/proc/{service.pid}/fd").iterdir()))


async def works(url: str, connect: Connect) -> bool:
    peer = await connect(url)
    await peer.send(chat_request("[[say]]"))
    return (await peer.answer()).status == 200


async def test_with_256_descriptors_a_thousand_clients_are_served_or_refused(
    fake_systemd: FakeSystemd, configure: Configure, connect: Connect
) -> None:
    configure(fitten={"pool": {"max_concurrent": 1000}})
    service = await fake_systemd.start(prefix=FEW_FILES)
    peers = []

    async def client() -> int | None:
        try:
            peer = await connect(fake_systemd.url)
            peers.append(peer)
            await peer.send(chat_request("[[say]]"))
            return (await peer.answer()).status
        except (ConnectionError, asyncio.IncompleteReadError):
            return None  # closed without an answer, since there are too many

    ends = Counter(await asyncio.gather(*(client() for _ in range(1000))))
    for peer in peers:
        peer.close()
    assert set(ends) <= {200, 503, None}
    assert ends[200] >= 96
    assert ends[503] >= 32
    while await client() != 200:
        pass
    assert [line for line in service.lines if line["level"] in ("warning", "error")] == []


async def test_a_thousand_idle_connections_stay_open_and_cost_little(
    fake_systemd: FakeSystemd, configure: Configure, connect: Connect
) -> None:
    service = await fake_systemd.start()
    assert await works(fake_systemd.url, connect)
    before = memory(service)
    peers = [await connect(fake_systemd.url) for _ in range(1000)]
    for peer in peers:
        await peer.send(HEALTH)
        assert (await peer.answer()).status == 200
    assert files(service) > 1000
    assert await works(fake_systemd.url, connect)
    assert memory(service) - before < 1000 * 32 * 1024
    for peer in peers:
        peer.reset()
    await eventually(lambda: files(service) < 100)


async def test_uploads_without_a_length_are_bounded_in_memory(
    fake_systemd: FakeSystemd, configure: Configure, connect: Connect
) -> None:
    """Forty of 8 MB each, of which 2 MB are allowed, two at a time; and what connections hold."""
    configure(server={"max_body_bytes": 2 * MB, "large_bodies": 2, "body_timeout": NEVER})
    service = await fake_systemd.start()
    assert await works(fake_systemd.url, connect)
    before = memory(service, "VmHWM")

    async def upload() -> int | None:
        peer = await connect(fake_systemd.url)
        body = chunked(bytes(8 * MB), 65536)
        try:
            await peer.send(UPLOAD)
            for start in range(0, len(body), 65536):
                await peer.send(body[start : start + 65536])
            return (await peer.answer()).status
        except (ConnectionError, asyncio.IncompleteReadError):
            return None  # what it still sent was too much to be thrown away
        finally:
            peer.close()

    ends = Counter(await asyncio.gather(*(upload() for _ in range(40))))
    assert set(ends) <= {413, None}
    assert memory(service, "VmHWM") - before < 48 * MB
    assert await works(fake_systemd.url, connect)


async def test_a_hundred_bodies_of_20_megabytes_cost_at_most_256(
    fake_systemd: FakeSystemd, configure: Configure, connect: Connect
) -> None:
    """Each is read and parsed; the prompt is too long then."""
    configure(server={"body_timeout": NEVER})
    service = await fake_systemd.start()
    assert await works(fake_systemd.url, connect)
    before = memory(service, "VmHWM")
    body = chat_body("x" * (20 * MB - 1000))
    head = chat_head({"Content-Type": "application/json", "Content-Length": str(len(body))})

    async def upload() -> int:
        peer = await connect(fake_systemd.url)
        await peer.send(head)
        for start in range(0, len(body), 65536):
            await peer.send(body[start : start + 65536])
        try:
            return (await peer.answer()).status
        finally:
            peer.close()

    ends = Counter(await asyncio.gather(*(upload() for _ in range(100))))
    assert ends == {400: 100}
    assert memory(service, "VmHWM") - before < 256 * MB


async def grows_no_more(service: GatewayService) -> int:
    """Return its memory in bytes when that has not grown for a while."""
    most = 0
    while (now := memory(service)) > most:
        most = now
        await asyncio.sleep(0.5)
    return most


@pytest.mark.parametrize("size", [2, 200, 4000, 50_000])
async def test_two_hundred_readers_that_stall_cost_192_kilobytes_each(
    fake_systemd: FakeSystemd, configure: Configure, connect: Connect, size: int
) -> None:
    """However large the pieces are. What the kernel holds is not counted."""
    fitten = FaultyFitten()
    await fitten.start()
    line = json.dumps({"delta": "x" * size}).encode() + b"\n"
    chunk = b"%x\r\n%b\r\n" % (len(line), line)
    fitten.moment = "chat"
    fitten.fault = (ANSWER_HEAD + chunk * (1 + 800_000 // len(chunk)), "stall")
    configure(
        server={"send_buffer": 4096},
        stream={"write_timeout": NEVER},
        fitten={
            "base_url": fitten.url,
            "models_url": fitten.url,
            "pool": {"max_concurrent": 200},
        },
    )
    service = await fake_systemd.start()
    before, descriptors = memory(service), files(service)
    peers = [await connect(fake_systemd.url, receive_buffer=4096) for _ in range(200)]
    for peer in peers:
        await peer.send(chat_request("x", stream=True))
    await eventually(lambda: fitten.failing == 200)
    fitten.go.set()
    growth = await grows_no_more(service) - before
    assert files(service) >= descriptors + 398
    assert growth < 200 * 192 * 1024
    await fitten.stop()


async def test_readers_that_stall_are_dropped_at_the_limit(
    fake_systemd: FakeSystemd, configure: Configure, connect: Connect, emulator: Emulator
) -> None:
    configure(stream={"write_timeout": 1.0}, fitten={"pool": {"max_concurrent": 101}})
    service = await fake_systemd.start()
    assert await works(fake_systemd.url, connect)
    descriptors = files(service)
    peers = [await connect(fake_systemd.url, receive_buffer=4096) for _ in range(100)]
    for peer in peers:
        await peer.send(chat_request("[[endless size=50000 pace=0]]", stream=True))
    calls = await eventually(lambda: len(c := emulator.calls_to(UPSTREAM_CHAT)) == 101 and c)
    # Aborted: what is only closed would wait until the client takes what was written.
    await eventually(lambda: all(call.closed for call in calls[1:]))
    await eventually(lambda: files(service) <= descriptors + 2)
    assert await works(fake_systemd.url, connect)


@pytest.mark.parametrize("stop", ["not read", "too late"])
async def test_what_the_kernel_holds_is_bounded_on_a_socket_that_was_handed_over(
    fake_systemd: FakeSystemd, configure: Configure, connect: Connect, stop: str
) -> None:
    """Also on a connection that had been waiting in the socket's queue."""
    configure(
        server={"send_buffer": 65536},
        stream={"write_timeout": 0.5},
        middlewares=["request_log", keys(KEY)],
    )
    early = await connect(fake_systemd.url, receive_buffer=4096)
    service = await fake_systemd.start()
    peer = early if stop == "too late" else await connect(fake_systemd.url, receive_buffer=4096)
    await peer.send(chat_request("[[endless size=20000 pace=0]]", stream=True))
    line = await service.event("request")
    assert line["end"] == "client_closed_request"
    assert line["bytes"] < 1_200_000  # loopback alone would swallow four megabytes


async def test_the_limits_of_connections_follow_a_reload(
    fake_systemd: FakeSystemd, configure: Configure, connect: Connect
) -> None:
    configure(server={"max_connections": 1})
    service = await fake_systemd.start()
    busy = await connect(fake_systemd.url)
    await busy.send(chat_request("[[endless]]", stream=True))
    await busy.until(b"w0 ")
    assert (await (await connect(fake_systemd.url)).answer()).status == 503
    configure(server={"max_connections": 3})
    await fake_systemd.reload(service)
    other = await connect(fake_systemd.url)
    await other.send(HEALTH)
    assert (await other.answer()).status == 200


@pytest.mark.parametrize("workers", [1, 2])
async def test_the_limit_of_heads_follows_a_reload(
    fake_systemd: FakeSystemd, configure: Configure, connect: Connect, workers: int
) -> None:
    configure(server={"header_timeout": NEVER, "workers": workers})
    service = await fake_systemd.start()
    kept = [await connect(fake_systemd.url) for _ in range(4)]
    for peer in kept:
        await peer.send(HEALTH)
        assert (await peer.answer()).status == 200
    configure(server={"header_timeout": 0.1, "workers": workers})
    await fake_systemd.reload(service)
    for peer in (*kept, await connect(fake_systemd.url)):
        before = time.monotonic()
        await peer.send(b"GET /health HTTP/1.1\r\nHo")
        assert (await peer.answer()).status == 408
        assert time.monotonic() - before > 0.08


async def test_a_head_that_was_sent_before_the_process_accepts_has_its_limit(
    fake_systemd: FakeSystemd, configure: Configure, connect: Connect
) -> None:
    configure(server={"header_timeout": 0.1})
    early: list[Peer] = [await connect(fake_systemd.url) for _ in range(20)]
    for peer in early:
        await peer.send(b"GET /health HTTP/1.1\r\nHo")
    await fake_systemd.start()
    for peer in early:
        assert (await peer.answer()).status == 408
