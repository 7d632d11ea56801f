"""One worker's line to its parent: whole messages over a socket, in both directions."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec
import structlog

from gateway.workers.rpc.messages import FromWorker, RpcMessage

_log = structlog.get_logger("workers")

_LENGTH_BYTES = 4  # bytes that say how long a message is
_MAX_MESSAGE = 16 * 1024 * 1024  # bytes of one message
_MAX_UNREAD = 64 * 1024 * 1024  # bytes that the other end may leave unread

M = TypeVar("M", bound=RpcMessage)
_encode = msgspec.msgpack.Encoder().encode


class Channel(asyncio.Protocol, Generic[M]):
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
        while len(self._data) - begin >= _LENGTH_BYTES:
            length = int.from_bytes(self._data[begin : begin + _LENGTH_BYTES], "big")
            end = begin + _LENGTH_BYTES + length
            if length > _MAX_MESSAGE:
                self._cut("a message is too long")
                return
            if len(self._data) < end:
                break
            try:
                message = self._decode(memoryview(self._data)[begin + _LENGTH_BYTES : end])
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                self._cut(f"a message cannot be understood: {error}")
                return
            self._on_message(message)
            begin = end
        del self._data[:begin]

    def connection_lost(self, exc: BaseException | None) -> None:
        self._transport = None
        self._on_lost()

    def send(self, message: RpcMessage) -> None:
        """Tell the other end; what is told to nobody is lost."""
        if self._transport is None:
            return
        raw = _encode(message)
        self._transport.write(len(raw).to_bytes(_LENGTH_BYTES, "big") + raw)
        if self._transport.get_write_buffer_size() > _MAX_UNREAD:
            self._cut("the other end does not read")

    def close(self) -> None:
        """Send what is left, and no more."""
        if self._transport is not None:
            self._transport.close()

    def _cut(self, reason: str) -> None:
        _log.error("link_cut", reason=reason)
        if self._transport is not None:
            self._transport.abort()


def master_channel(
    on_message: Callable[[FromWorker], None], on_lost: Callable[[], None]
) -> Channel[Any]:
    """The parent's end."""
    return Channel(FromWorker, on_message, on_lost)
