"""How many connections there may be, and which of them stay."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from gateway.server import connection, single_process
from gateway.server.connection_limit import ConnectionLimit, raise_descriptor_limit
from tests.conftest import StartGateway
from tests.integration.conftest import Connect
from tests.integration.hostile.lag import never_blocked
from tests.integration.peer import chat_head, chat_request
from tests.support import Gateway
from tests.waiting import LONGEST_WAIT, NEVER, eventually

HEAD = chat_head({})


async def test_connections_beyond_the_limit_get_a_503(
    start_gateway: StartGateway, connect: Connect
) -> None:
    gateway = await start_gateway(server={"max_connections": 3})
    busy = [await connect(gateway.url) for _ in range(3)]
    for peer in busy:
        await peer.send(chat_request("[[endless]]", stream=True))
        await peer.until(b"w0 ")
    for _ in range(40):
        refused = await connect(gateway.url)
        answer = await refused.answer()
        assert (answer.status, answer.error["code"]) == (503, "server_is_overloaded")
        assert answer.headers["retry-after"] == "1"
    busy[0].close()
    await connect_until_accepted(gateway, connect)


async def connect_until_accepted(gateway: Gateway, connect: Connect) -> None:
    """Connect until one is not refused."""
    async with asyncio.timeout(LONGEST_WAIT):
        while True:
            peer = await connect(gateway.url)
            with contextlib.suppress(ConnectionError):  # it was refused and closed
                await peer.send(b"GET /health HTTP/1.1\r\nHost: gateway\r\n\r\n")
                if (await peer.answer()).status == 200:
                    return
            await asyncio.sleep(0.01)


def connections(gateway: Gateway) -> Any:
    """Those that are open now."""
    assert gateway.entrypoint.server is not None
    return gateway.entrypoint.server._connections


async def test_idle_connections_make_room_for_others_after_a_second(
    start_gateway: StartGateway, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await start_gateway(server={"max_connections": 3})
    busy = await connect(gateway.url)
    await busy.send(chat_request("[[endless]]", stream=True))
    await busy.until(b"w0 ")
    idle = [await connect(gateway.url) for _ in range(2)]
    await idle[1].send(HEAD[:50])
    await eventually(lambda: len(connections(gateway)) == 3)
    with monkeypatch.context() as patch:
        patch.setattr(connection, "_MIN_IDLE", NEVER)
        assert (await (await connect(gateway.url)).answer()).status == 503
    await connect_until_accepted(gateway, connect)
    assert await idle[0].rest() == b""
    await busy.until(b"w5 ")


async def test_a_thousand_connections_at_once_do_not_block_the_loop(
    gateway: Gateway, connect: Connect
) -> None:
    raise_descriptor_limit()  # of this process, which has both ends
    with never_blocked(calls=10_000):
        for _ in range(1000):
            await connect(gateway.url)
        assert (await gateway.whole("[[say]]"))[0] == 200
    assert (await gateway.stream("[[count n=3]]"))[-1] == "[DONE]"


def test_an_accepted_connection_has_a_second_descriptor() -> None:
    admission = ConnectionLimit()
    admission.limit(descriptors=64 + 10)
    filled = []
    for count in (0, 4, 5, 6):
        admission.connections = count
        filled.append(admission.full)
    assert filled == [False, False, True, True]
    admission.limit(10_000, connections=6)
    assert admission.full
    admission.limit(10_000)
    assert not admission.full


async def test_an_idle_connection_may_stay_75_seconds(gateway: Gateway, connect: Connect) -> None:
    """And no more: aiohttp forgets all settings when it is given one that it does not know."""
    await connect(gateway.url)
    (open_now,) = await eventually(lambda: connections(gateway))
    assert open_now.keepalive_timeout == 75


async def test_refused_clients_do_not_delay_the_end(
    start_gateway: StartGateway, connect: Connect
) -> None:
    gateway = await start_gateway(server={"max_connections": 1})
    entrypoint = await single_process.start_entrypoint(gateway.config)
    await connect(single_process.url_of_entrypoint(entrypoint))
    refused = await connect(single_process.url_of_entrypoint(entrypoint))
    assert (await refused.answer()).status == 503
    await asyncio.wait_for(single_process.stop_entrypoint(entrypoint, NEVER, grace=0), LONGEST_WAIT)
    assert await refused.rest() == b""
