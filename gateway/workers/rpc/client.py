"""Implements a worker's end of the channel: sends requests and waits for responses."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

from gateway.errors import Unavailable
from gateway.workers.rpc.channel import Channel
from gateway.workers.rpc.messages import (
    CancelRequest,
    FromMaster,
    RpcFailed,
    RpcRequest,
    RpcResponse,
    error_from_record,
)

_RESPONSE_MARGIN = 10.0  # seconds for a response, beyond the time that the request itself waits


class RpcClient:
    """Sends requests to the master, and passes on other messages of the master.

    on_message: called with each message that is not a response.
    on_lost: called when the master has ended.
    """

    def __init__(
        self, on_message: Callable[[FromMaster], None], on_lost: Callable[[], None]
    ) -> None:
        self._channel: Channel[Any] = Channel(FromMaster, self._receive, self._on_channel_lost)
        self._on_message = on_message
        self._on_lost = on_lost
        self._call_ids = itertools.count(1)
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._lost = False
        self.open = self._channel.open
        self.send = self._channel.send
        self.close = self._channel.close

    def next_call_id(self) -> int:
        """Return the number of a new request."""
        return next(self._call_ids)

    async def call(self, request: RpcRequest, wait: float = 0.0) -> Any:
        """Send a request, and return its response.

        Raises the GatewayError that the master sends, and Unavailable when there is no response
        in time. Cancelling cancels the request in the master too.

        wait: seconds that the master itself may wait, for example for a slot.
        """
        if self._lost:
            raise _no_master_error()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pending[request.call] = future
        self._channel.send(request)
        answered = False
        try:
            async with asyncio.timeout(wait + _RESPONSE_MARGIN):
                response = await future
            answered = True
        except TimeoutError:
            raise _no_master_error() from None
        finally:
            self._pending.pop(request.call, None)
            if not answered:
                self._channel.send(CancelRequest(request.call))
        if isinstance(response, RpcFailed):
            raise error_from_record(response.failure)
        return response

    def _receive(self, message: FromMaster) -> None:
        if not isinstance(message, RpcResponse):
            self._on_message(message)
            return
        future = self._pending.get(message.call)
        if future is not None and not future.done():
            future.set_result(message)

    def _on_channel_lost(self) -> None:
        self._lost = True
        for future in self._pending.values():
            if not future.done():
                future.set_exception(_no_master_error())
        self._on_lost()


def _no_master_error() -> Unavailable:
    return Unavailable(
        "The gateway is being restarted; please try again.", code="draining", retry_after=1.0
    )
