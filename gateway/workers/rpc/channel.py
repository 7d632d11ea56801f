"""Implements the channel between two processes: whole messages over a socket pair."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec
import structlog

from gateway.workers.rpc.messages import RpcMessage

_log = structlog.get_logger("workers")

_LENGTH_BYTES = 4  # bytes of the length before each message, big endian
_MAX_MESSAGE = 16 * 1024 * 1024  # bytes of one message
_MAX_UNREAD = 64 * 1024 * 1024  # bytes that may wait because the other end does not read

M = TypeVar("M", bound=RpcMessage)
_encode = msgspec.msgpack.Encoder().encode


class Channel(asyncio.Protocol, Generic[M]):
    """Sends and receives messages at one end. They arrive in the order they were sent.

    The channel is closed when it receives invalid data, or when the other end does not read.

    kinds: the union of the message types that this end receives.
    on_message: called with each message. on_lost: called when the channel is closed.
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
        """Use this socket, which the channel owns from now on."""
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
                self._abort("a message is too long")
                return
            if len(self._data) < end:
                break
            try:
                message = self._decode(memoryview(self._data)[begin + _LENGTH_BYTES : end])
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                self._abort(f"a message cannot be decoded: {error}")
                return
            self._on_message(message)
            begin = end
        del self._data[:begin]

    def connection_lost(self, exc: BaseException | None) -> None:
        self._transport = None
        self._on_lost()

    def send(self, message: RpcMessage) -> None:
        """Send a message; does nothing when the channel is closed."""
        if self._transport is None:
            return
        raw = _encode(message)
        self._transport.write(len(raw).to_bytes(_LENGTH_BYTES, "big") + raw)
        if self._transport.get_write_buffer_size() > _MAX_UNREAD:
            self._abort("the other end does not read")

    def close(self) -> None:
        """Close the channel after the messages that are still to be sent."""
        if self._transport is not None:
            self._transport.close()

    def _abort(self, reason: str) -> None:
        _log.error("link_cut", reason=reason)
        if self._transport is not None:
            self._transport.abort()
