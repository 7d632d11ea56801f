"""The RPC alone, with a service that exists in this test only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog

from gateway.errors import GatewayError, RateLimited, Unavailable
from gateway.workers.rpc import peer as peer_module
from gateway.workers.rpc.messages import CancelRequest, RpcMessage, RpcRequest, RpcResponse
from gateway.workers.rpc.peer import RpcPeer
from tests.unit.workers.support import connect, no_response, settled
from tests.waiting import eventually

# A whole service: messages, server side, client side. It lends numbered tickets.


class TicketLent(RpcResponse, frozen=True):
    """The ticket."""

    ticket: int


class BorrowTicket(RpcRequest[TicketLent], frozen=True):
    """Asks for a ticket."""

    owner: str


class TicketReturned(RpcMessage, frozen=True):
    """Gives a ticket back."""

    ticket: int


class TicketsLeft(RpcMessage, frozen=True):
    """Tells how many are left."""

    tickets: int


class TicketServer:
    """Lends the tickets of all clients. `held`: those of this client."""

    def __init__(self, rpc: RpcPeer, tickets: set[int]) -> None:
        self.rpc = rpc
        self.tickets = tickets
        self.held: dict[int, int] = {}
        self.available, self.granted = asyncio.Event(), asyncio.Event()
        rpc.register(
            {BorrowTicket: self.borrow, TicketReturned: self.take_back},
            on_cancelled=self.cancelled,
            on_lost=self.lost,
        )

    def borrow(self, request: BorrowTicket) -> Any:
        if request.owner == "nobody":
            raise RateLimited("nobody gets none", retry_after=3.0)
        if request.owner == "bug":
            raise KeyError("a text that nobody may see")
        return self.lend(request) if self.tickets else self.lend_later(request)

    async def lend_later(self, request: BorrowTicket) -> TicketLent:
        await self.available.wait()
        if not self.tickets:
            raise RateLimited("too late")
        return self.lend(request)

    def lend(self, request: BorrowTicket) -> TicketLent:
        ticket = self.held[request.call] = self.tickets.pop()
        self.granted.set()
        self.rpc.send(TicketsLeft(len(self.tickets)))
        return TicketLent(request.call, ticket)

    def take_back(self, message: TicketReturned) -> None:
        call = next(call for call, ticket in self.held.items() if ticket == message.ticket)
        self.tickets.add(self.held.pop(call))
        self.available.set()

    def cancelled(self, call: int) -> None:
        if call in self.held:
            self.tickets.add(self.held.pop(call))

    def lost(self) -> None:
        self.tickets |= set(self.held.values())
        self.held.clear()


class TicketClient:
    """Borrows tickets. `left`: what the server has told."""

    def __init__(self, rpc: RpcPeer) -> None:
        self.rpc = rpc
        self.left: list[int] = []
        rpc.register(
            {TicketsLeft: lambda message: self.left.append(message.tickets)},
            responses=(TicketLent,),
        )

    async def borrow(self, owner: str, wait: float | None = 0.0) -> int:
        request = BorrowTicket(self.rpc.next_call_id(), owner)
        return (await self.rpc.call(request, wait)).ticket

    def give_back(self, ticket: int) -> None:
        self.rpc.send(TicketReturned(ticket))


@asynccontextmanager
async def tickets(*numbers: int) -> AsyncIterator[tuple[TicketServer, TicketClient]]:
    one, other = RpcPeer(no_response), RpcPeer(no_response)
    server, client = TicketServer(one, set(numbers)), TicketClient(other)
    await connect(one, other)
    try:
        yield server, client
    finally:
        one.close()
        other.close()
        await settled()


async def test_a_request_gets_its_response_and_notifications_go_both_ways() -> None:
    async with tickets(7) as (server, client):
        assert await client.borrow("alice") == 7
        assert client.left == [0], "sent before the response"
        client.give_back(7)
        await eventually(lambda: server.tickets == {7})
        assert not server.held


async def test_many_requests_get_each_its_own_response() -> None:
    async with tickets(*range(50)) as (server, client):
        lent = await asyncio.gather(*(client.borrow(f"{number}") for number in range(50)))
        assert sorted(lent) == list(range(50))
        assert not server.tickets


async def test_an_error_of_the_gateway_reaches_the_other_end() -> None:
    async with tickets(7) as (_, client):
        with pytest.raises(RateLimited, match="nobody gets none") as caught:
            await client.borrow("nobody")
        assert caught.value.retry_after == 3.0
        assert await client.borrow("alice") == 7


async def test_another_error_is_logged_and_tells_the_other_end_nothing() -> None:
    async with tickets(7) as (_, client):
        with (
            structlog.testing.capture_logs() as logs,
            pytest.raises(GatewayError) as caught,
        ):
            await client.borrow("bug")
        assert "nobody may see" not in str(caught.value)
        assert [log["event"] for log in logs] == ["bug"]
        assert await client.borrow("alice") == 7


async def test_a_notification_whose_handler_fails_does_not_end_the_channel() -> None:
    async with tickets(7) as (_, client):
        with structlog.testing.capture_logs() as logs:
            client.give_back(99)
            assert await client.borrow("alice") == 7
        assert [log["event"] for log in logs] == ["bug"]


async def test_a_cancelled_request_is_cancelled_at_the_other_end() -> None:
    async with tickets() as (server, client):
        waiting = asyncio.create_task(client.borrow("alice", None))
        await eventually(lambda: server.rpc.running == 1)
        waiting.cancel()
        await asyncio.wait([waiting])
        await eventually(lambda: server.rpc.running == 0)
        assert not server.held


@pytest.mark.parametrize("free", [True, False], ids=["at once", "after a wait"])
async def test_what_was_granted_to_a_request_that_is_cancelled_meanwhile_is_taken_back(
    free: bool,
) -> None:
    async with tickets(*([7] if free else [])) as (server, client):
        waiting = asyncio.create_task(client.borrow("alice", None))
        if free:
            await asyncio.sleep(0)  # the request is sent, the response not read
        else:
            await eventually(lambda: server.rpc.running == 1)
            server.tickets.add(7)
            server.available.set()
        waiting.cancel()
        await asyncio.wait([waiting])
        await eventually(lambda: not server.held and server.tickets == {7})
        assert server.rpc.running == 0


async def test_a_cancellation_that_arrives_between_grant_and_response_takes_back() -> None:
    async with tickets() as (server, _):
        request = BorrowTicket(1, "alice")
        server.rpc._receive(request)
        await settled()
        server.tickets.add(7)
        server.available.set()
        await server.granted.wait()
        assert server.rpc.running == 1, "the response is not sent yet"
        server.rpc._receive(CancelRequest(1))
        assert server.tickets == {7}


async def test_a_request_that_is_cancelled_with_its_arrival_never_runs() -> None:
    async with tickets() as (server, _):
        server.rpc._receive(BorrowTicket(1, "alice"))
        server.rpc._receive(CancelRequest(1))
        await settled()
        assert server.rpc.running == 0


async def test_all_that_a_lost_end_held_comes_back_and_its_requests_end() -> None:
    async with tickets(7) as (server, client):
        assert await client.borrow("alice") == 7
        waiting = asyncio.create_task(client.borrow("alice", None))
        await eventually(lambda: server.rpc.running == 1)
        client.rpc.close()
        with pytest.raises(Unavailable):
            await waiting
        await eventually(lambda: server.tickets == {7})
        await eventually(lambda: server.rpc.running == 0)
        with pytest.raises(Unavailable):
            await client.borrow("bob")
        client.give_back(7)  # is dropped without an error


async def test_a_service_that_fails_at_a_loss_does_not_keep_the_others_from_releasing() -> None:
    def fails() -> None:
        raise KeyError

    rpc = RpcPeer(no_response)
    rpc.register(on_lost=fails)
    server = TicketServer(rpc, {7})
    server.lend(BorrowTicket(1, "alice"))
    with structlog.testing.capture_logs() as logs:
        rpc.lose()
    assert server.tickets == {7}
    assert [log["event"] for log in logs] == ["bug"]


async def test_messages_of_an_end_that_is_known_to_be_lost_are_ignored() -> None:
    async with tickets(7, 8) as (server, client):
        ticket = await client.borrow("alice")
        server.rpc.lose()
        server.rpc.lose()
        client.give_back(ticket)
        waiting = asyncio.create_task(client.borrow("bob", None))
        await settled()
        assert server.tickets == {7, 8}
        waiting.cancel()
        await asyncio.wait([waiting])


async def test_an_end_that_does_not_respond_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peer_module, "_RESPONSE_MARGIN", 0.05)
    async with tickets() as (server, client):
        with pytest.raises(Unavailable):
            await client.borrow("alice")
        await eventually(lambda: server.rpc.running == 0)


async def test_both_ends_may_send_requests_with_the_same_numbers() -> None:
    one, other = RpcPeer(no_response), RpcPeer(no_response)
    servers = TicketServer(one, {1}), TicketServer(other, {2})
    clients = TicketClient(one), TicketClient(other)
    await connect(one, other)
    assert await asyncio.gather(*(client.borrow("x") for client in clients)) == [2, 1]
    assert [list(server.held) for server in servers] == [[1], [1]]
    one.close()
    await settled()


async def test_two_services_cannot_have_a_message_of_one_name() -> None:
    rpc = RpcPeer(no_response)
    TicketServer(rpc, set())
    with pytest.raises(ValueError, match="two services handle BorrowTicket, TicketReturned"):
        TicketServer(rpc, set())
    other: Any = type("BorrowTicket", (RpcMessage,), {}, frozen=True)
    with pytest.raises(ValueError, match="two messages have the name BorrowTicket"):
        rpc.register({other: print})


async def test_a_service_is_registered_before_the_channel_is_open() -> None:
    async with tickets() as (server, _):
        with pytest.raises(ValueError, match="cannot receive TicketLent"):
            server.rpc.register(responses=(TicketLent,))
