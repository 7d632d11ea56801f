"""Shows the master the open requests of its workers, and ends one of them.

In this service the master sends the requests, and the worker answers them.
"""

from __future__ import annotations

import asyncio

from gateway.admission.live import LiveRequest, LiveRequests
from gateway.errors import GatewayError
from gateway.workers.rpc.messages import RpcRequest, RpcResponse
from gateway.workers.rpc.peer import RpcPeer

_ANSWER_TIMEOUT = 1.0  # seconds that a worker may take; one that hangs must not hang the admin


class LiveListed(RpcResponse, frozen=True):
    """Returns the open requests of a worker."""

    requests: list[LiveRequest]


class ListLive(RpcRequest[LiveListed], frozen=True):
    """Asks a worker for its open requests."""


class LiveEnded(RpcResponse, frozen=True):
    """Reports whether the worker had the request."""

    found: bool


class EndLive(RpcRequest[LiveEnded], frozen=True):
    """Asks a worker to end a request, if it has it. by: who does it, for the log."""

    row_id: str
    by: str


class LiveAsker:
    """Asks one worker, in the master. A worker that does not answer in time has no requests."""

    def __init__(self, rpc: RpcPeer) -> None:
        self._rpc = rpc
        rpc.register(responses=(LiveListed, LiveEnded))

    async def snapshot(self) -> list[LiveRequest]:
        """Return the open requests of the worker."""
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT):
                return (await self._rpc.call(ListLive(self._rpc.next_call_id()))).requests
        except (TimeoutError, GatewayError, OSError):  # it hangs, or has ended
            return []

    async def end(self, row_id: str, by: str) -> bool:
        """End a request; return whether the worker had it."""
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT):
                request = EndLive(self._rpc.next_call_id(), row_id, by)
                return (await self._rpc.call(request)).found
        except (TimeoutError, GatewayError, OSError):
            return False


class LiveResponder:
    """Answers the master, in a worker. requests: those of the worker, under every revision."""

    def __init__(self, rpc: RpcPeer) -> None:
        self.requests = LiveRequests()
        rpc.register({ListLive: self._list, EndLive: self._end})

    def _list(self, request: ListLive) -> LiveListed:
        return LiveListed(request.call, self.requests.snapshot())

    def _end(self, request: EndLive) -> LiveEnded:
        return LiveEnded(request.call, self.requests.end(request.row_id, request.by))
