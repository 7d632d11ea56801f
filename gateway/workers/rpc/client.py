"""A worker's end of the channel: asks the master and waits for the answer."""

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

_ANSWER_MARGIN = 10.0  # seconds for an answer, beyond what a question itself may wait for


class RpcClient:
    """A worker's end: asks questions and hands on what the parent tells by itself.

    on_told: given what is no answer. on_lost: told when the parent is gone.
    """

    def __init__(self, on_told: Callable[[FromMaster], None], on_lost: Callable[[], None]) -> None:
        self._channel: Channel[Any] = Channel(FromMaster, self._take, self._lost)
        self._on_told = on_told
        self._on_lost = on_lost
        self._calls = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._gone = False
        self.open = self._channel.open
        self.tell = self._channel.send
        self.close = self._channel.close

    def next_call(self) -> int:
        """The number of another question."""
        return next(self._calls)

    async def ask(self, question: RpcRequest, wait: float = 0.0) -> Any:
        """The answer. wait: how long it may take by its nature, in seconds.

        Raises the GatewayError that the parent sends, and Unavailable when it sends nothing.
        Whoever is cancelled needs no answer any more; the parent is told.
        """
        if self._gone:
            raise _no_master_error()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[question.call] = future
        self._channel.send(question)
        answered = False
        try:
            async with asyncio.timeout(wait + _ANSWER_MARGIN):
                answer = await future
            answered = True
        except TimeoutError:
            raise _no_master_error() from None
        finally:
            self._waiting.pop(question.call, None)
            if not answered:
                self._channel.send(CancelRequest(question.call))
        if isinstance(answer, RpcFailed):
            raise error_from_record(answer.failure)
        return answer

    def _take(self, message: FromMaster) -> None:
        if not isinstance(message, RpcResponse):
            self._on_told(message)
            return
        future = self._waiting.get(message.call)
        if future is not None and not future.done():
            future.set_result(message)

    def _lost(self) -> None:
        self._gone = True
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(_no_master_error())
        self._on_lost()


def _no_master_error() -> Unavailable:
    return Unavailable(
        "The gateway is being restarted; please try again.", code="draining", retry_after=1.0
    )
