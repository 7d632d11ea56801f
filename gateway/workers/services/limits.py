"""Decides about limits over all workers: the master has the counts."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any

from gateway.limits.claims import Claim, Scope, Standing, Verdict
from gateway.limits.names import Kind
from gateway.limits.queue import AdmissionQueue
from gateway.workers.rpc.messages import RpcMessage, RpcRequest, RpcResponse
from gateway.workers.rpc.peer import RpcPeer


class LookedUp(RpcResponse, frozen=True):
    """Returns the refusal of a caller who is over a limit already; None if there is none."""

    verdict: Verdict | None


class LookRequest(RpcRequest[LookedUp], frozen=True):
    """Requests to look whether a caller is over a limit already."""

    scopes: tuple[Scope, ...]
    kind: Kind


class ClaimDecided(RpcResponse, frozen=True):
    """Returns the verdict about a claim."""

    verdict: Verdict


class ClaimRequest(RpcRequest[ClaimDecided], frozen=True):
    """Requests to admit a request, which may wait in line first."""

    claim: Claim


class ClaimSettled(RpcMessage, frozen=True):
    """Says what an admitted request has used; None if nobody knows."""

    claim_id: str
    tokens: int | None


class StandingsListed(RpcResponse, frozen=True):
    """Returns how much is used of each limit."""

    standings: list[Standing]


class StandingsRequest(RpcRequest[StandingsListed], frozen=True):
    """Requests how much is used of each limit of some scopes."""

    scopes: tuple[Scope, ...]


class LimitsServer:
    """Decides for one worker. If the worker ends, its open requests are charged their prompts."""

    def __init__(self, rpc: RpcPeer, meter: AdmissionQueue) -> None:
        self._meter = meter
        self._open: set[str] = set()
        self._calls: dict[int, str] = {}
        rpc.register(
            {
                LookRequest: self._look,
                ClaimRequest: self._claim,
                ClaimSettled: self._settle,
                StandingsRequest: self._standings,
            },
            on_cancelled=self._withdraw,
            on_lost=self._settle_all,
        )

    def _look(self, request: LookRequest) -> LookedUp:
        return LookedUp(request.call, self._meter.meter.look(request.scopes, request.kind))

    def _claim(self, request: ClaimRequest) -> ClaimDecided | Coroutine[Any, Any, ClaimDecided]:
        # Most claims need no task of their own: only those that may wait in line.
        verdict = self._meter.meter.claim(request.claim)
        if verdict.may_queue:
            return self._wait(request)
        return self._decided(request, verdict)

    async def _wait(self, request: ClaimRequest) -> ClaimDecided:
        return self._decided(request, await self._meter.claim(request.claim))

    def _decided(self, request: ClaimRequest, verdict: Verdict) -> ClaimDecided:
        if verdict.admitted and request.claim.kind != "listing":
            self._open.add(request.claim.id)
            self._calls[request.call] = request.claim.id
            while len(self._calls) > 2 * len(self._open) + 16:
                del self._calls[next(iter(self._calls))]
        return ClaimDecided(request.call, verdict)

    def _settle(self, message: ClaimSettled) -> None:
        self._open.discard(message.claim_id)
        self._meter.settle(message.claim_id, message.tokens)

    def _standings(self, request: StandingsRequest) -> StandingsListed:
        return StandingsListed(request.call, self._meter.meter.standings(request.scopes))

    def _withdraw(self, call: int) -> None:
        """Take back what a worker did not wait for."""
        claim_id = self._calls.pop(call, None)
        if claim_id in self._open:
            self._open.discard(claim_id)
            self._meter.withdraw(claim_id)

    def _settle_all(self) -> None:
        while self._open:
            self._meter.settle(self._open.pop(), None)


class LimitsClient:
    """Implements `Meter` in a worker.

    wait: how many seconds the master may let a claim wait in line.
    """

    local = None

    def __init__(self, rpc: RpcPeer) -> None:
        self._rpc = rpc
        self.wait = 0.0
        rpc.register(responses=(LookedUp, ClaimDecided, StandingsListed))

    async def look(self, scopes: Sequence[Scope], kind: Kind) -> Verdict | None:
        """See `Meter`."""
        request = LookRequest(self._rpc.next_call_id(), tuple(scopes), kind)
        return (await self._rpc.call(request)).verdict

    async def claim(self, claim: Claim) -> Verdict:
        """See `Meter`."""
        request = ClaimRequest(self._rpc.next_call_id(), claim)
        return (await self._rpc.call(request, self.wait)).verdict

    def settle(self, claim_id: str, tokens: int | None) -> None:
        """See `Meter`."""
        self._rpc.send(ClaimSettled(claim_id, tokens))

    async def standings(self, scopes: Sequence[Scope]) -> list[Standing]:
        """See `Meter`."""
        request = StandingsRequest(self._rpc.next_call_id(), tuple(scopes))
        return (await self._rpc.call(request)).standings
