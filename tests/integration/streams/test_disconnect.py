"""Clients that leave, and clients that do not read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from emulator import EmulatedAccount, Emulator
from tests.conftest import StartGateway
from tests.integration.conftest import Connect
from tests.integration.peer import LOGIN, Peer, chat_request, upstream_call
from tests.support import Gateway, without_limits
from tests.waiting import LONGEST_WAIT, NEVER, eventually


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> Gateway:
    """A gateway without time limits: a call ends because the client has left."""
    return await start_gateway(**without_limits())


def leave(peer: Peer, how: str) -> None:
    if how == "half-close":
        peer.finish_sending()
    elif how == "RST":
        peer.reset()
    else:
        peer.close()


async def log_line(log_events: list[Any]) -> dict[str, Any]:
    """The one line of the request log."""
    await eventually(lambda: [e for e in log_events if e["event"] == "request"])
    await asyncio.sleep(0.02)  # a second line would be there by now
    (line,) = [event for event in log_events if event["event"] == "request"]
    assert isinstance(line, dict)
    return line


@pytest.mark.parametrize("how", ["FIN", "RST", "half-close"])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("marker", ["silent", "no_headers", "heartbeats_forever"])
async def test_leaving_before_the_first_piece_closes_the_upstream_at_once(
    peer: Peer, emulator: Emulator, log_events: list[Any], marker: str, stream: bool, how: str
) -> None:
    await peer.send(chat_request(f"[[{marker}]]", stream=stream))
    call = await upstream_call(emulator)
    await asyncio.sleep(0.02)
    leave(peer, how)
    await asyncio.wait_for(call.closed.wait(), LONGEST_WAIT)
    line = await log_line(log_events)
    assert (line["status"], line["end"]) == (499, "client_closed_request")


@pytest.mark.parametrize("how", ["FIN", "RST"])
@pytest.mark.parametrize("marker", ["endless", "slow first=0 gap=3600 n=2"])
async def test_leaving_in_the_middle_closes_the_upstream_at_once(
    peer: Peer, emulator: Emulator, log_events: list[Any], marker: str, how: str
) -> None:
    await peer.send(chat_request(f"[[{marker}]]", stream=True))
    await peer.until(b"w0 ")
    call = await upstream_call(emulator)
    leave(peer, how)
    await asyncio.wait_for(call.closed.wait(), LONGEST_WAIT)
    line = await log_line(log_events)
    assert (line["status"], line["end"]) == (499, "client_closed_request")
    assert line["bytes"] > 0


@pytest.mark.parametrize("how", ["FIN", "RST"])
async def test_leaving_while_a_whole_answer_is_collected_closes_the_upstream_at_once(
    peer: Peer, emulator: Emulator, log_events: list[Any], how: str
) -> None:
    await peer.send(chat_request("[[endless]]"))
    call = await upstream_call(emulator)
    await eventually(lambda: call.bytes_sent > 50)
    leave(peer, how)
    await asyncio.wait_for(call.closed.wait(), LONGEST_WAIT)
    assert (await log_line(log_events))["status"] == 499


async def test_leaving_is_noticed_behind_a_large_body(peer: Peer, emulator: Emulator) -> None:
    await peer.send(chat_request("[[silent]]", metadata={"padding": "x" * 5_000_000}))
    call = await upstream_call(emulator)
    leave(peer, "RST")
    await asyncio.wait_for(call.closed.wait(), LONGEST_WAIT)


@pytest.mark.parametrize("requests", [1, 20])
async def test_leaving_is_noticed_behind_pipelined_requests(
    peer: Peer, emulator: Emulator, requests: int
) -> None:
    await peer.send(chat_request("[[silent]]", stream=True))
    call = await upstream_call(emulator)
    await peer.send(b"GET /health HTTP/1.1\r\nHost: gateway\r\n\r\n" * requests)
    await asyncio.sleep(0.02)
    leave(peer, "FIN")
    await asyncio.wait_for(call.closed.wait(), LONGEST_WAIT)


async def test_leaving_during_the_login_does_not_end_it_for_others(
    start_gateway: StartGateway, emulator: Emulator, connect: Connect, log_events: list[Any]
) -> None:
    emulator.account("demo_user").scenarios.add("login_slow")
    emulator.change_slow(NEVER)
    gateway = await start_gateway()
    peer = await connect(gateway.url)
    await peer.send(chat_request("[[say]]"))
    other = asyncio.create_task(gateway.whole("[[say]]"))
    await eventually(lambda: emulator.calls_to(LOGIN))
    await asyncio.sleep(0.05)
    peer.reset()
    await log_line(log_events)
    emulator.release()
    assert (await other)[0] == 200
    assert len(emulator.calls_to(LOGIN)) == 1
    statuses = sorted(e["status"] for e in log_events if e["event"] == "request")
    assert statuses == [200, 499]


async def test_leaving_with_an_unfinished_body_causes_no_upstream_call(
    peer: Peer, emulator: Emulator, log_events: list[Any], gateway: Gateway
) -> None:
    request = chat_request("[[say]]")
    await peer.send(request[:-5])
    await asyncio.sleep(0.02)
    peer.reset()
    await log_line(log_events)
    assert not emulator.calls_to("/codeapi/chat_auth")
    assert not [e for e in log_events if e["log_level"] == "error"]
    assert (await gateway.whole("[[say]]"))[0] == 200


async def test_many_clients_that_leave_at_once_leave_nothing_behind(
    start_gateway: StartGateway, emulator: Emulator, connect: Connect
) -> None:
    gateway = await start_gateway(fitten={"pool": {"max_concurrent": 40}})
    peers = [await connect(gateway.url) for _ in range(40)]
    for peer in peers:
        await peer.send(chat_request("[[endless]]", stream=True))
    for peer in peers:
        await peer.until(b"w0 ")
    for peer in peers:
        peer.reset()
    calls = emulator.calls_to("/codeapi/chat_auth")
    await eventually(lambda: all(call.closed for call in calls))
    assert len(calls) == 40
    assert (await gateway.whole("[[say]]"))[0] == 200


async def test_a_client_that_does_not_read_makes_the_upstream_wait_and_is_dropped(
    start_gateway: StartGateway, emulator: Emulator, connect: Connect, log_events: list[Any]
) -> None:
    gateway = await start_gateway(stream={"write_timeout": 0.4})
    peer = await connect(gateway.url, receive_buffer=4096)
    await peer.send(chat_request("[[endless size=50000 pace=0]]", stream=True))
    call = await upstream_call(emulator)
    await asyncio.wait_for(call.closed.wait(), LONGEST_WAIT)
    assert call.bytes_sent < 16 * 2**20
    line = await log_line(log_events)
    assert (line["status"], line["end"]) == (499, "client_closed_request")
    assert b"[DONE]" not in await peer.rest()  # ends, because the connection was dropped


async def test_the_upstream_waits_while_a_client_does_not_read(
    start_gateway: StartGateway, emulator: Emulator, connect: Connect
) -> None:
    gateway = await start_gateway(stream={"write_timeout": NEVER})
    peer = await connect(gateway.url, receive_buffer=4096)
    await peer.send(chat_request("[[endless size=50000 pace=0]]", stream=True))
    call = await upstream_call(emulator)
    sent = 0
    async with asyncio.timeout(LONGEST_WAIT):
        while not sent or sent != call.bytes_sent:
            sent = call.bytes_sent
            await asyncio.sleep(0.15)
    assert sent < 16 * 2**20
    assert not call.closed


async def test_a_client_that_reads_late_gets_everything(
    start_gateway: StartGateway, emulator: Emulator, connect: Connect
) -> None:
    gateway = await start_gateway(stream={"write_timeout": NEVER})
    peer = await connect(gateway.url, receive_buffer=4096)
    await peer.send(chat_request("[[count n=600 size=60000]]", stream=True))
    await asyncio.sleep(0.3)
    assert not (await upstream_call(emulator)).done
    answer = await peer.answer()
    assert answer.body.count(b'"content":"w') == 600
    assert answer.body.endswith(b"data: [DONE]\n\n")


async def test_a_slow_reader_does_not_slow_the_others(
    gateway: Gateway, emulator: Emulator, connect: Connect
) -> None:
    peer = await connect(gateway.url, receive_buffer=4096)
    await peer.send(chat_request("[[endless size=50000 pace=0]]", stream=True))
    await peer.until(b"w0")
    for _ in range(5):
        assert (await gateway.whole("[[say]]"))[0] == 200
    assert not emulator.calls_to("/codeapi/chat_auth")[0].closed, "it still waits"


async def test_a_client_that_leaves_while_the_session_is_renewed_is_only_logged(
    start_gateway: StartGateway, emulator: Emulator, connect: Connect, log_events: list[Any]
) -> None:
    gateway = await start_gateway()
    assert (await gateway.whole("[[say]]"))[0] == 200
    account: EmulatedAccount = emulator.account("demo_user")
    account.scenarios.add("refresh_slow")
    emulator.change_slow(NEVER)
    account.revoke_access()
    peer = await connect(gateway.url)
    await peer.send(chat_request("[[say text=x]]", stream=True))
    await eventually(lambda: emulator.calls_to("/codeuser/auth/refresh_access_token"))
    peer.reset()
    await eventually(lambda: [e for e in log_events if e.get("status") == 499])
    emulator.release()
    assert (await gateway.whole("[[say]]"))[0] == 200
    assert len(emulator.calls_to("/codeuser/auth/refresh_access_token")) == 1
    assert not [e for e in log_events if e["log_level"] == "error"]
