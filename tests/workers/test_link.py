"""The line between a worker and its parent: whole messages, or none."""

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
from gateway.workers.rpc.channel import Link
from gateway.workers.rpc.messages import (
    Acquire,
    Beat,
    Failure,
    FromWorker,
    Message,
    Ready,
    error_of,
    failure_of,
)
from gateway.workers.rpc.server import Desk
from tests.workers.support import kept_pool, lines, settled

MESSAGES: list[Any] = [
    Beat(3, 4),
    Acquire(1, 1, "key", 2.5),
    Acquire(2, 1, None, 0.0),
    Ready(1, "why"),
    Beat(0, 0),
]


def raw(*messages: Message) -> bytes:
    encoded = [msgspec.msgpack.encode(message) for message in messages]
    return b"".join(len(one).to_bytes(4, "big") + one for one in encoded)


def received() -> tuple[Link[Any], list[Message]]:
    taken: list[Message] = []
    return Link(FromWorker, taken.append, lambda: None), taken


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
        raw(Beat(1, 2))[:4]
        + msgspec.msgpack.encode(["Beat", "x", 1, 2])[: len(raw(Beat(1, 2))) - 4],
    ],
    ids=["too long", "no msgpack", "another thing", "another type"],
)
async def test_a_line_that_brings_nonsense_is_cut(data: bytes) -> None:
    end, taken = received()
    transport = Transport()
    end.connection_made(transport)
    end.data_received(data)
    assert transport.aborted
    assert not taken


async def test_a_line_that_is_not_read_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "_MOST_WAITING", 100_000)
    lost = asyncio.Event()
    end: Link[Any] = Link(FromWorker, lambda _: None, lost.set)
    ours, theirs = socket.socketpair()
    with theirs:
        await end.open(ours)
        for _ in range(100):
            end.send(Ready(1, "x" * 10_000))
        await asyncio.wait_for(lost.wait(), 2)


async def test_what_is_told_after_the_end_is_lost_without_a_complaint() -> None:
    async with lines(kept_pool(1)) as (line,):
        line.link.close()
        await settled()
        line.asking.tell(Beat(1, 2))
        with pytest.raises(Unavailable):
            await line.pool.acquire("key", 1.0)


async def test_a_parent_that_does_not_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "_PATIENCE", 0.05)
    monkeypatch.setattr(Desk, "take", lambda *_: None)
    async with lines(kept_pool(1)) as (line,):
        with pytest.raises(Unavailable):
            await line.pool.acquire_small()


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
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(failure_of(error)), type=Failure)
    found = error_of(sent)
    assert type(found) is kind
    assert (str(found), vars(found)) == (str(error), vars(error))
    assert found.status == error.status


def test_an_error_of_a_kind_that_is_not_known_is_an_error_still() -> None:
    found = error_of(Failure("os", "m", "c", None, None, True, False))
    assert type(found) is GatewayError
