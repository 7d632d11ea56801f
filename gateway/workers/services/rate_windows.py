"""Counts the requests of callers over all workers: the master has the windows."""

from __future__ import annotations

from gateway.store.rate_windows import Admission, SlidingWindows, Window
from gateway.workers.rpc.messages import RpcRequest, RpcResponse
from gateway.workers.rpc.peer import RpcPeer


class RequestCounted(RpcResponse, frozen=True):
    """Returns whether a request is admitted, and the state of its window; see `Admission`."""

    admitted: bool
    count: int
    first: float
    last: float


class CountRequest(RpcRequest[RequestCounted], frozen=True):
    """Requests to count one request of a caller, unless it is over the limit.

    name: of the middleware that counts. The other members are those of `Window`.
    """

    name: str
    caller: str
    limit: int
    seconds: float
    callers: int


class RateWindowsServer:
    """Counts for one worker in the windows of all workers."""

    def __init__(self, rpc: RpcPeer, windows: SlidingWindows) -> None:
        self._windows = windows
        rpc.register({CountRequest: self._count})

    def _count(self, request: CountRequest) -> RequestCounted:
        window = Window(request.limit, request.seconds, request.callers)
        counted = self._windows.admit_now(request.name, request.caller, window)
        return RequestCounted(
            request.call, counted.admitted, counted.count, counted.first, counted.last
        )


class RateWindowsClient:
    """Implements `RateWindows` in a worker."""

    def __init__(self, rpc: RpcPeer) -> None:
        self._rpc = rpc
        rpc.register(responses=(RequestCounted,))

    async def admit(self, name: str, caller: str, window: Window) -> Admission:
        """See `RateWindows`."""
        limits = window.limit, window.seconds, window.callers
        counted = await self._rpc.call(
            CountRequest(self._rpc.next_call_id(), name, caller, *limits)
        )
        return Admission(counted.admitted, counted.count, counted.first, counted.last)
