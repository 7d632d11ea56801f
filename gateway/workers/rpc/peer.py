"""Implements one end of the RPC: sends requests, and answers those of the other end."""

from __future__ import annotations

import asyncio
import functools
import itertools
import operator
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar, cast

import structlog

from gateway.errors import GatewayError, InternalError
from gateway.workers.rpc.channel import Channel
from gateway.workers.rpc.error_record import error_from_record, error_record
from gateway.workers.rpc.messages import (
    CancelRequest,
    RpcFailed,
    RpcMessage,
    RpcRequest,
    RpcResponse,
)

_log = structlog.get_logger("workers")

_RESPONSE_MARGIN = 10.0  # seconds for a response, beyond the time that the request itself waits

R = TypeVar("R", bound=RpcResponse)

# Handles one message. The handler of a request returns the response, or a coroutine that returns
# it and then runs as a task. The handler of a notification returns None.
Handler = Callable[[Any], RpcResponse | Coroutine[Any, Any, RpcResponse] | None]


class RpcPeer:
    """Sends messages to the other end of a channel, and handles the messages of that end.

    Both ends are alike: each may send requests. Services register what they receive before
    `open` is called. The messages of all services are then one union for decoding.

    no_response: creates the error of a request that gets no response, because the other end is
        lost or does not respond in time.
    """

    def __init__(self, no_response: Callable[[], Exception]) -> None:
        self._no_response = no_response
        self._handlers: dict[type[RpcMessage], Handler] = {CancelRequest: self._on_cancel}
        self._kinds: dict[str, type[RpcMessage]] = {}
        self._cancel_hooks: list[Callable[[int], None]] = []
        self._lost_hooks: list[Callable[[], None]] = []
        self._call_ids = itertools.count(1)
        self._pending: dict[int, asyncio.Future[RpcResponse]] = {}
        self._running: dict[int, asyncio.Task[RpcResponse]] = {}
        self._lost = False
        self._channel: Channel[RpcMessage] | None = None  # None until `open`
        self._add_kinds((CancelRequest, RpcFailed))

    def register(
        self,
        handlers: Mapping[type[RpcMessage], Handler] | None = None,
        *,
        responses: Iterable[type[RpcResponse]] = (),
        on_cancelled: Callable[[int], None] | None = None,
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        """Register what one service does at this end; to be called before `open`.

        handlers: what is called with each request and notification that this end receives.
        responses: the types of the responses that this end receives.
        on_cancelled: called with the number of a request that the other end has cancelled after
            the response was sent. The service takes back what it has granted.
        on_lost: called when the other end is lost. The service releases what that end held.
        Raises ValueError if another service has a message of the same name, or if the channel
        is open.
        """
        handlers = handlers or {}
        if taken := handlers.keys() & self._handlers.keys():
            raise ValueError(f"two services handle {_names(taken)}")
        self._add_kinds((*handlers, *responses))
        self._handlers.update(handlers)
        if on_cancelled is not None:
            self._cancel_hooks.append(on_cancelled)
        if on_lost is not None:
            self._lost_hooks.append(on_lost)

    def _add_kinds(self, kinds: Iterable[type[RpcMessage]]) -> None:
        if self._channel is not None:
            raise ValueError(f"the channel is open, it cannot receive {_names(kinds)}")
        for kind in kinds:
            if self._kinds.setdefault(kind.__name__, kind) is not kind:
                raise ValueError(f"two messages have the name {kind.__name__}")

    async def open(self, sock: socket.socket) -> None:
        """Use this socket, which the channel owns from now on."""
        kinds: list[Any] = list(self._kinds.values())
        union = functools.reduce(operator.or_, kinds)
        self._channel = Channel(union, self._receive, self.lose)
        await self._channel.open(sock)

    def next_call_id(self) -> int:
        """Return the number of a new request."""
        return next(self._call_ids)

    def send(self, message: RpcMessage) -> None:
        """Send a message; does nothing when the channel is not open."""
        if self._channel is not None:
            self._channel.send(message)

    async def call(self, request: RpcRequest[R], wait: float | None = 0.0) -> R:
        """Send a request, and return its response.

        Raises the GatewayError that the other end sends, and the error of `no_response`.
        Cancelling cancels the request at the other end too.

        wait: seconds that the other end itself may wait, for example for a slot; None for no
            limit.
        """
        if self._lost:
            raise self._no_response()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pending[request.call] = future
        self.send(request)
        answered = False
        try:
            async with asyncio.timeout(None if wait is None else wait + _RESPONSE_MARGIN):
                response = await future
            answered = True
        except TimeoutError:
            raise self._no_response() from None
        finally:
            self._pending.pop(request.call, None)
            if not answered:
                self.send(CancelRequest(request.call))
        if isinstance(response, RpcFailed):
            raise error_from_record(response.failure)
        return cast(R, response)

    def close(self) -> None:
        """Close the channel after the messages that are still to be sent."""
        if self._channel is not None:
            self._channel.close()

    def lose(self) -> None:
        """Release all that the other end held: it has ended. A second call changes nothing.

        Is called when the channel is lost. What arrives later is ignored.
        """
        if self._lost:
            return
        self._lost = True
        for task in self._running.values():
            task.cancel()
        for future in self._pending.values():
            if not future.done():
                future.set_exception(self._no_response())
        for hook in self._lost_hooks:
            try:
                hook()
            except Exception:  # what the other services hold must be released all the same
                _log.exception("bug")

    @property
    def running(self) -> int:
        """Return how many requests of the other end are being handled."""
        return len(self._running)

    def _receive(self, message: RpcMessage) -> None:
        if self._lost:
            return
        if isinstance(message, RpcResponse):
            future = self._pending.get(message.call)
            if future is not None and not future.done():
                future.set_result(message)
            return
        handler = self._handlers[type(message)]
        if isinstance(message, RpcRequest):
            self._respond(message.call, handler, message)
        else:
            try:
                handler(message)
            except Exception:
                _log.exception("bug")

    def _respond(self, call: int, handler: Handler, request: RpcMessage) -> None:
        try:
            result = handler(request)
        except Exception as error:
            self.send(_failure(call, error))
            return
        if isinstance(result, Awaitable):
            task = self._running[call] = asyncio.create_task(result)
            task.add_done_callback(partial(self._on_done, call))
        elif result is not None:
            self.send(result)

    def _on_done(self, call: int, task: asyncio.Task[RpcResponse]) -> None:
        del self._running[call]
        if not task.cancelled():
            error = task.exception()
            self.send(task.result() if error is None else _failure(call, error))

    def _on_cancel(self, message: CancelRequest) -> None:
        task = self._running.get(message.call)
        # A task that has already ended has granted what it was asked for.
        if task is None or not task.cancel():
            for hook in self._cancel_hooks:
                hook(message.call)


def _failure(call: int, error: BaseException) -> RpcFailed:
    if not isinstance(error, GatewayError):
        _log.error("bug", exc_info=error)
        error = InternalError()
    return RpcFailed(call, error_record(error))


def _names(kinds: Iterable[type[RpcMessage]]) -> str:
    return ", ".join(sorted(kind.__name__ for kind in kinds))
