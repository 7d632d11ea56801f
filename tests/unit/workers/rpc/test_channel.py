"""The channel between a worker and its master: whole messages, or none."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import socket
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import errors
from gateway.errors import GatewayError, MethodNotAllowed, Unavailable
from gateway.workers.rpc import channel, client
from gateway.workers.rpc.channel import Channel
from gateway.workers.rpc.messages import (
    AcquireSlot,
    ErrorRecord,
    FromWorker,
    Heartbeat,
    RevisionReady,
    RpcMessage,
    error_from_record,
    error_record,
)
from gateway.workers.rpc.server import RpcServer
from tests.unit.workers.support import connected_workers, master_pool, settled
from tests.waiting import LONGEST_WAIT

MESSAGES: list[Any] = [
    Heartbeat(3, 4),
    AcquireSlot(1, 1, "key", 2.5),
    AcquireSlot(2, 1, None, 0.0),
    RevisionReady(1, "why"),
    Heartbeat(0, 0),
]


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(4, "big") + message


def raw(*messages: RpcMessage) -> bytes:
    return b"".join(framed(msgspec.msgpack.encode(message)) for message in messages)


def received() -> tuple[Channel[Any], list[RpcMessage]]:
    taken: list[RpcMessage] = []
    return Channel(FromWorker, taken.append, lambda: None), taken


@given(st.lists(st.integers(0, len(raw(*MESSAGES))), max_size=12))
def test_messages_are_whole_however_the_bytes_arrive(cuts: list[int]) -> None:
    end, taken = received()
    data = raw(*MESSAGES)
    places = [0, *sorted(cuts), len(data)]
    for begin, stop in itertools.pairwise(places):
        end.data_received(data[begin:stop])
    assert taken == MESSAGES


class Transport:
    """Says whether it was aborted."""

    def __init__(self) -> None:
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


@pytest.mark.parametrize(
    "data",
    [
        (17 * 1024 * 1024).to_bytes(4, "big"),
        (3).to_bytes(4, "big") + b"\xc1\xc1\xc1",
        (1).to_bytes(4, "big") + b"\x01",
        framed(msgspec.msgpack.encode(["Heartbeat", "x", 2])),
    ],
    ids=["too long", "not msgpack", "not a message", "wrong type"],
)
async def test_a_channel_with_an_invalid_message_is_closed(data: bytes) -> None:
    end, taken = received()
    transport = Transport()
    end.connection_made(transport)
    end.data_received(data)
    assert transport.aborted
    assert not taken


async def test_a_channel_whose_other_end_does_not_read_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channel, "_MAX_UNREAD", 100_000)
    lost = asyncio.Event()
    end: Channel[Any] = Channel(FromWorker, lambda _: None, lost.set)
    ours, theirs = socket.socketpair()
    with theirs:
        await end.open(ours)
        for _ in range(100):
            end.send(RevisionReady(1, "x" * 10_000))
        await asyncio.wait_for(lost.wait(), LONGEST_WAIT)


async def test_a_message_after_the_end_is_dropped_without_an_error() -> None:
    async with connected_workers(master_pool(1)) as (worker,):
        worker.channel.close()
        await settled()
        worker.rpc.send(Heartbeat(1, 2))
        with pytest.raises(Unavailable):
            await worker.pool.acquire("key", 1.0)


async def test_a_master_that_does_not_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "_RESPONSE_MARGIN", 0.05)
    monkeypatch.setattr(RpcServer, "receive", lambda *_: None)
    async with connected_workers(master_pool(1)) as (worker,):
        with pytest.raises(Unavailable):
            await worker.pool.acquire_completion()


KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, GatewayError) and kind is not MethodNotAllowed
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(
    message=st.text(max_size=20),
    code=st.none() | st.text(max_size=9),
    retry_after=st.none() | st.floats(0, 1e6),
    retryable=st.booleans(),
    elsewhere=st.booleans(),
)
def test_an_error_is_the_same_at_the_other_end(
    kind: type[GatewayError],
    message: str,
    code: str | None,
    retry_after: float | None,
    retryable: bool,
    elsewhere: bool,
) -> None:
    error = kind.__new__(kind)
    GatewayError.__init__(error, message, param="p", retry_after=retry_after)
    error.code, error.retryable, error.elsewhere = code, retryable, elsewhere
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(error_record(error)), type=ErrorRecord)
    found = error_from_record(sent)
    assert type(found) is kind
    assert (str(found), vars(found)) == (str(error), vars(error))
    assert found.status == error.status


def test_an_error_of_an_unknown_kind_is_still_an_error() -> None:
    found = error_from_record(ErrorRecord("os", "m", "c", None, None, True, False))
    assert type(found) is GatewayError
