"""Clients that misbehave on purpose: slow, not reading, gone; each has its limit."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import Any

import pytest

from emulator import Emulator
from gateway.http import request_body
from tests.conftest import StartGateway
from tests.integration.conftest import Connect
from tests.integration.peer import (
    CHAT,
    Peer,
    chat_body,
    chat_head,
    chat_request,
    chunked,
    upstream_call,
)
from tests.support import KEY, Gateway, without_limits
from tests.waiting import LONGEST_WAIT, NEVER, eventually

JSON = {"Content-Type": "application/json"}
HEAD = chat_head(JSON)
IP_MINTTL = 21  # Linux; no name in Python


async def test_a_head_that_stalls_is_answered_with_408(
    start_gateway: StartGateway, connect: Connect
) -> None:
    gateway = await start_gateway(server={"header_timeout": 0.1})
    for part in (1, 20, len(HEAD) - 1):
        peer = await connect(gateway.url)
        await peer.send(HEAD[:part])
        answer = await peer.answer()
        assert (answer.status, answer.error["code"]) == (408, "request_timeout")
        assert await peer.rest() == b""


async def test_a_head_that_arrives_slowly_gets_no_more_time(
    start_gateway: StartGateway, connect: Connect
) -> None:
    gateway = await start_gateway(server={"header_timeout": 0.1})
    peer = await connect(gateway.url)
    await peer.send(HEAD[:-2])
    answer = asyncio.create_task(peer.rest())
    with contextlib.suppress(ConnectionError):
        while not answer.done():
            await peer.send(b"X: 1\r\n")
            await asyncio.sleep(0.02)
    assert (await answer).startswith(b"HTTP/1.1 408 ")


async def test_the_time_limit_for_heads_does_not_end_idle_connections(
    start_gateway: StartGateway, connect: Connect
) -> None:
    gateway = await start_gateway(server={"header_timeout": 0.5})
    peer = await connect(gateway.url)
    for before in (b"", b"\r\n"):  # a line end after a body is an old client's habit
        await peer.send(before)
        await asyncio.sleep(0.6)
        body = chat_body("[[say]]")
        await peer.send(chat_head({**JSON, "Content-Length": str(len(body))})[:30])
        await asyncio.sleep(0.01)
        await peer.send(chat_head({**JSON, "Content-Length": str(len(body))})[30:])
        await asyncio.sleep(0.6)  # the body has a time limit of its own
        await peer.send(body)
        assert (await peer.answer()).status == 200


async def test_a_second_head_that_stalls_is_answered_too(
    start_gateway: StartGateway, connect: Connect
) -> None:
    gateway = await start_gateway(server={"header_timeout": 0.1})
    peer = await connect(gateway.url)
    await peer.send(chat_request("[[say]]"))
    assert (await peer.answer()).status == 200
    await peer.send(HEAD[:50])
    assert (await peer.answer()).status == 408


@pytest.mark.parametrize(
    "ahead",
    [
        b"GET /health HTTP/1.1\r\nHost: gateway\r\n\r\n" * 5000,
        chat_request("x", user="u" * 3_000_000),
    ],
    ids=["many requests", "a large one"],
)
async def test_pipelined_data_does_not_hide_that_a_client_has_left(
    start_gateway: StartGateway, connect: Connect, emulator: Emulator, ahead: bytes
) -> None:
    gateway = await start_gateway(**without_limits())
    peer = await connect(gateway.url)
    await peer.send(chat_request("[[silent]]", stream=True))
    call = await upstream_call(emulator)
    sending = asyncio.create_task(peer.send(ahead))
    await asyncio.sleep(0.05)
    peer.reset()
    await asyncio.gather(sending, return_exceptions=True)
    await asyncio.wait_for(call.closed.wait(), LONGEST_WAIT)
    assert (await gateway.whole("[[say]]"))[0] == 200


async def test_many_quick_requests_ahead_are_all_answered(
    gateway: Gateway, connect: Connect
) -> None:
    peer = await connect(gateway.url)
    await peer.send(b"GET /health HTTP/1.1\r\nHost: gateway\r\n\r\n" * 300)
    for _ in range(300):
        assert (await peer.answer()).status == 200


@pytest.mark.parametrize("key", ["wrong", ""])
async def test_without_a_key_no_body_is_asked_for(
    gateway: Gateway, connect: Connect, key: str
) -> None:
    peer = await connect(gateway.url)
    headers = {**JSON, "Content-Length": "100000", "Expect": "100-continue"}
    await peer.send(chat_head({**headers, "Authorization": f"Bearer {key}"}))
    assert (await peer.answer()).status == 401


@pytest.mark.parametrize("target", ["POST /nowhere", f"PUT {CHAT}", "POST /health"])
async def test_a_body_that_is_not_read_is_not_asked_for(
    gateway: Gateway, connect: Connect, target: str
) -> None:
    peer = await connect(gateway.url)
    headers = {**JSON, "Content-Length": "100000", "Expect": "100-continue"}
    await peer.send(chat_head(headers, target))
    assert (await peer.answer()).status in (404, 405)


PART = 300 * 1024  # of a large body: with so much it needs a place
LARGE = chat_body("[[say]]", user="u" * 1_100_000)
LARGE_HEAD = {**JSON, "Content-Length": str(len(LARGE))}
OTHER_KEY = "other-key-0123456789"
TWO_KEYS = {"api_key": {"keys": [{"name": "one", "key": KEY}, {"name": "two", "key": OTHER_KEY}]}}


async def begin_upload(connect: Connect, gateway: Gateway, key: str = KEY) -> Peer:
    """Send the beginning of a large body."""
    peer = await connect(gateway.url)
    headers = {**LARGE_HEAD, "Authorization": f"Bearer {key}"}
    await peer.send(chat_head(headers) + LARGE[:PART])
    return peer


async def test_large_bodies_wait_for_their_turn(
    start_gateway: StartGateway, connect: Connect
) -> None:
    gateway = await start_gateway(server={"large_bodies": 2, "body_timeout": 30.0})
    first = await begin_upload(connect, gateway)
    await asyncio.sleep(0.1)
    second = await begin_upload(connect, gateway)
    waiting = asyncio.create_task(second.send(LARGE[PART:]))
    answer = asyncio.create_task(second.answer())
    assert (await gateway.whole("[[say]]"))[0] == 200  # small ones do not wait
    assert not answer.done()
    await first.send(LARGE[PART:])
    assert (await first.answer()).status == 200
    assert (await answer).status == 200
    await waiting


async def test_one_caller_leaves_places_for_others(
    start_gateway: StartGateway, connect: Connect
) -> None:
    gateway = await start_gateway(
        server={"large_bodies": 2, "body_timeout": 30.0}, middlewares=[TWO_KEYS]
    )
    for _ in range(3):
        await begin_upload(connect, gateway)
    await asyncio.sleep(0.1)
    other = await begin_upload(connect, gateway, OTHER_KEY)
    await other.send(LARGE[PART:])
    assert (await other.answer()).status == 200


async def test_uploads_that_dribble_keep_nobody_out(
    start_gateway: StartGateway, connect: Connect
) -> None:
    gateway = await start_gateway(server={"large_bodies": 1, "body_timeout": NEVER})
    for headers in (LARGE_HEAD, {**JSON, "Transfer-Encoding": "chunked"}):
        for _ in range(8):
            peer = await connect(gateway.url)
            await peer.send(chat_head(headers) + b"1\r\n{\r\n")
    for headers, body in (
        ({**JSON, "Transfer-Encoding": "chunked"}, chunked(chat_body("[[say]]"))),
        ({**JSON, "Transfer-Encoding": "chunked"}, chunked(LARGE, 65536)),
        (LARGE_HEAD, LARGE),
    ):
        peer = await connect(gateway.url)
        await peer.send(chat_head(headers) + body)
        assert (await peer.answer()).status == 200


async def test_a_place_is_taken_from_an_upload_that_is_too_slow(
    start_gateway: StartGateway, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_body, "_STEP_TIMEOUT", 0.3)
    gateway = await start_gateway(server={"large_bodies": 1, "body_timeout": NEVER})
    slow = await begin_upload(connect, gateway)
    dribbling = asyncio.create_task(send_slowly(slow))
    answer = await slow.answer()
    assert (answer.status, answer.error["code"]) == (408, "request_timeout")
    dribbling.cancel()
    other = await begin_upload(connect, gateway)
    await other.send(LARGE[PART:])
    assert (await other.answer()).status == 200


async def test_a_large_body_that_finds_no_place_is_refused(
    start_gateway: StartGateway, connect: Connect
) -> None:
    gateway = await start_gateway(server={"large_bodies": 1, "body_timeout": 0.5})
    peers = [await begin_upload(connect, gateway) for _ in range(3)]
    codes = sorted([(await peer.answer()).status for peer in peers])
    assert codes in ([408, 408, 503], [408, 503, 503])


async def test_a_client_that_closes_its_half_has_left(
    gateway: Gateway, connect: Connect, emulator: Emulator
) -> None:
    peer = await connect(gateway.url)
    await peer.send(chat_request("[[endless]]", stream=True))
    call = await upstream_call(emulator)
    peer.finish_sending()
    await asyncio.wait_for(call.closed.wait(), LONGEST_WAIT)
    await peer.rest()  # it is closed, not left open


async def test_the_kernel_holds_little_for_a_client_that_does_not_read(
    gateway: Gateway, connect: Connect, log_events: list[Any]
) -> None:
    peer = await connect(gateway.url, receive_buffer=4096)
    await peer.send(chat_request("[[burst n=20000 size=200]]", stream=True))
    await asyncio.sleep(0.3)
    peer.reset()
    line = await eventually(lambda: [e for e in log_events if e["event"] == "request"])
    assert line[0]["bytes"] < 1_000_000  # loopback would swallow four times as much


def drop_incoming_packets(peer: Peer) -> None:
    """Have the kernel drop incoming packets unacknowledged, as when the client's cable is cut.

    The socket then demands a time to live that no packet of this machine has.
    """
    peer.socket.setsockopt(socket.IPPROTO_IP, IP_MINTTL, 255)


async def test_a_client_that_disappeared_is_noticed_because_it_sends_nothing(
    start_gateway: StartGateway, connect: Connect, emulator: Emulator
) -> None:
    gateway = await start_gateway(stream={"write_timeout": 0.5})
    peer = await connect(gateway.url)
    await peer.send(chat_request("[[endless]]", stream=True))
    await peer.until(b"w0 ")
    call = await upstream_call(emulator)
    before = time.monotonic()
    drop_incoming_packets(peer)
    await asyncio.wait_for(call.closed.wait(), LONGEST_WAIT)
    assert time.monotonic() - before > 0.4


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_a_client_that_takes_nothing_does_not_keep_its_connection(
    start_gateway: StartGateway, connect: Connect, stream: bool
) -> None:
    gateway = await start_gateway(stream={"write_timeout": 0.5})
    peer = await connect(gateway.url, receive_buffer=4096)
    await peer.send(chat_request("[[burst n=20000 size=200]]", stream=stream))
    assert gateway.entrypoint.server is not None
    open_now = gateway.entrypoint.server._connections
    await eventually(lambda: open_now)
    await eventually(lambda: not open_now)
    assert (await gateway.whole("[[say]]"))[0] == 200


async def test_a_body_that_arrives_slowly_gets_no_more_time(
    start_gateway: StartGateway, connect: Connect
) -> None:
    """Two seconds more than the limit, in which a client that still sends may read why."""
    gateway = await start_gateway(server={"body_timeout": 0.2})
    peer = await connect(gateway.url)
    before = time.monotonic()
    await peer.send(chat_head({**JSON, "Content-Length": "1000000"}))
    dribbling = asyncio.create_task(send_slowly(peer))
    assert (await peer.answer()).status == 408
    assert time.monotonic() - before > 0.18
    await peer.rest()  # ends, although the client goes on
    dribbling.cancel()


async def send_slowly(peer: Peer) -> None:
    with contextlib.suppress(ConnectionError):
        while True:
            await peer.send(b" ")
            await asyncio.sleep(0.02)
