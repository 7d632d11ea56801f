"""The channel between two processes: whole messages, or none."""

from __future__ import annotations

import asyncio
import itertools
import socket
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.workers.rpc import channel
from gateway.workers.rpc.channel import Channel
from gateway.workers.rpc.messages import RpcMessage, RpcRequest, RpcResponse
from tests.waiting import LONGEST_WAIT


class Ask(RpcRequest[RpcResponse], frozen=True):
    """A request."""

    key: str | None
    wait: float


class Count(RpcMessage, frozen=True):
    """A notification with two numbers."""

    one: int
    other: int


class Say(RpcMessage, frozen=True):
    """A notification with a text."""

    text: str


MESSAGES: list[Any] = [
    Count(3, 4),
    Ask(1, "key", 2.5),
    Ask(2, None, 0.0),
    Say("why"),
    Count(0, 0),
]


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(4, "big") + message


def raw(*messages: RpcMessage) -> bytes:
    return b"".join(framed(msgspec.msgpack.encode(message)) for message in messages)


def received() -> tuple[Channel[Any], list[RpcMessage]]:
    taken: list[RpcMessage] = []
    return Channel(Ask | Count | Say, taken.append, lambda: None), taken


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
        framed(msgspec.msgpack.encode(["Count", "x", 2])),
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
    end: Channel[Any] = Channel(Ask | Count | Say, lambda _: None, lost.set)
    ours, theirs = socket.socketpair()
    with theirs:
        await end.open(ours)
        for _ in range(100):
            end.send(Say("x" * 10_000))
        await asyncio.wait_for(lost.wait(), LONGEST_WAIT)
