"""One worker's line to its parent: whole messages over a socket, in both directions."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec
import structlog

from gateway.errors import Unavailable
from gateway.workers.rpc.messages import (
    Answer,
    Failed,
    FromParent,
    FromWorker,
    Message,
    Question,
    Withdraw,
    error_of,
)

_log = structlog.get_logger("workers")

_LENGTH = 4  # bytes that say how long a message is
_LONGEST = 16 * 1024 * 1024  # bytes of one message
_MOST_WAITING = 64 * 1024 * 1024  # bytes that the other end may leave unread
_PATIENCE = 10.0  # seconds for an answer, beyond what a question itself may wait for

M = TypeVar("M", bound=Message)
_encode = msgspec.msgpack.Encoder().encode


class Link(asyncio.Protocol, Generic[M]):
    """One end of the line. Messages come in the order in which they were sent.

    kinds: the messages that this end takes. on_message: given each of them. on_lost: told
    that there will be no more. A line that brings nonsense, or is not read, is cut.
    """

    def __init__(
        self, kinds: Any, on_message: Callable[[M], None], on_lost: Callable[[], None]
    ) -> None:
        self._decode = msgspec.msgpack.Decoder(kinds).decode
        self._on_message = on_message
        self._on_lost = on_lost
        self._data = bytearray()
        self._transport: asyncio.Transport | None = None

    async def open(self, sock: socket.socket) -> None:
        """Use this socket, which is the line's from now on."""
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=sock)

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        begin = 0
        while len(self._data) - begin >= _LENGTH:
            length = int.from_bytes(self._data[begin : begin + _LENGTH], "big")
            end = begin + _LENGTH + length
            if length > _LONGEST:
                self._cut("a message is too long")
                return
            if len(self._data) < end:
                break
            try:
                message = self._decode(memoryview(self._data)[begin + _LENGTH : end])
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                self._cut(f"a message cannot be understood: {error}")
                return
            self._on_message(message)
            begin = end
        del self._data[:begin]

    def connection_lost(self, exc: BaseException | None) -> None:
        self._transport = None
        self._on_lost()

    def send(self, message: Message) -> None:
        """Tell the other end; what is told to nobody is lost."""
        if self._transport is None:
            return
        raw = _encode(message)
        self._transport.write(len(raw).to_bytes(_LENGTH, "big") + raw)
        if self._transport.get_write_buffer_size() > _MOST_WAITING:
            self._cut("the other end does not read")

    def close(self) -> None:
        """Send what is left, and no more."""
        if self._transport is not None:
            self._transport.close()

    def _cut(self, reason: str) -> None:
        _log.error("link_cut", reason=reason)
        if self._transport is not None:
            self._transport.abort()


class Asking:
    """A worker's end: asks questions and hands on what the parent tells by itself.

    on_told: given what is no answer. on_lost: told when the parent is gone.
    """

    def __init__(self, on_told: Callable[[FromParent], None], on_lost: Callable[[], None]) -> None:
        self._link: Link[Any] = Link(FromParent, self._take, self._lost)
        self._on_told = on_told
        self._on_lost = on_lost
        self._calls = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._gone = False
        self.open = self._link.open
        self.tell = self._link.send
        self.close = self._link.close

    def next_call(self) -> int:
        """The number of another question."""
        return next(self._calls)

    async def ask(self, question: Question, wait: float = 0.0) -> Any:
        """The answer. wait: how long it may take by its nature, in seconds.

        Raises the GatewayError that the parent sends, and Unavailable when it sends nothing.
        Whoever is cancelled needs no answer any more; the parent is told.
        """
        if self._gone:
            raise _alone()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[question.call] = future
        self._link.send(question)
        answered = False
        try:
            async with asyncio.timeout(wait + _PATIENCE):
                answer = await future
            answered = True
        except TimeoutError:
            raise _alone() from None
        finally:
            self._waiting.pop(question.call, None)
            if not answered:
                self._link.send(Withdraw(question.call))
        if isinstance(answer, Failed):
            raise error_of(answer.failure)
        return answer

    def _take(self, message: FromParent) -> None:
        if not isinstance(message, Answer):
            self._on_told(message)
            return
        future = self._waiting.get(message.call)
        if future is not None and not future.done():
            future.set_result(message)

    def _lost(self) -> None:
        self._gone = True
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(_alone())
        self._on_lost()


def _alone() -> Unavailable:
    return Unavailable(
        "The gateway is being restarted; please try again.", code="draining", retry_after=1.0
    )


def telling(on_message: Callable[[FromWorker], None], on_lost: Callable[[], None]) -> Link[Any]:
    """The parent's end."""
    return Link(FromWorker, on_message, on_lost)
