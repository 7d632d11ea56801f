"""Grants workers the slots of accounts: the master has the pool and its queue."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from gateway.accounts.account import LocalLease
from gateway.accounts.health import CallOutcome, outcome_of
from gateway.accounts.pool import LocalPool
from gateway.accounts.prompt_digest import Digest, KnownDigest
from gateway.accounts.retry_budget import RetryBudget
from gateway.errors import GatewayError, InternalError
from gateway.fitten.auth.session import FittenSession
from gateway.store.token_file import Tokens
from gateway.workers.rpc.error_record import ErrorRecord, error_from_record, error_record
from gateway.workers.rpc.messages import RpcMessage, RpcRequest, RpcResponse
from gateway.workers.rpc.peer import RpcPeer
from gateway.workers.services.accounts import KnownAccounts
from gateway.workers.services.sessions import RemoteSession, RemoteSessions


class SlotGranted(RpcResponse, frozen=True):
    """Grants a slot. The number of the request identifies the slot from now on.

    probe: whether the call tests a half-open account.
    tokens: None when the worker must fetch them.
    """

    account: str
    probe: bool
    tokens: Tokens | None


class NoOtherSlot(RpcResponse, frozen=True):
    """Reports that no other account is available now."""


class AcquireSlot(RpcRequest[SlotGranted], frozen=True):
    """Requests a slot for this key, after at most `wait` seconds in the queue.

    prompt: the digest of the prompt, if an account is not healthy.
    """

    revision: int
    key: str | None
    wait: float
    prompt: bytes | None


class AcquireOtherSlot(RpcRequest[SlotGranted | NoOtherSlot], frozen=True):
    """Requests a slot of an account that was not tried yet.

    wait: seconds in the queue at most. tried: names of accounts. prompt: as in `AcquireSlot`.
    """

    revision: int
    key: str | None
    wait: float
    tried: tuple[str, ...]
    prompt: bytes | None


class AcquireCompletionSlot(RpcRequest[SlotGranted], frozen=True):
    """Requests a slot for a code completion.

    prefer: the name of the account to use if it has a free slot. prompt: as in `AcquireSlot`.
    """

    revision: int
    prefer: str | None
    prompt: bytes | None


class ProbeAnswered(RpcMessage, frozen=True):
    """Reports that the upstream began to answer the probe that holds this slot."""

    slot: int


class ReleaseSlot(RpcMessage, frozen=True):
    """Releases a slot, with the outcome of its call. prompt: the digest, if the call failed."""

    slot: int
    outcome: CallOutcome
    failure: ErrorRecord | None
    prompt: bytes | None


class SlotsServer:
    """Keeps track of the slots that one worker holds, and releases them when it ends.

    pools: the pool of each revision that the worker uses.
    """

    def __init__(self, rpc: RpcPeer, pools: Mapping[int, LocalPool[FittenSession]]) -> None:
        self._pools = pools
        self._held: dict[int, LocalLease[FittenSession]] = {}
        self._lost = False
        rpc.register(
            {
                AcquireSlot: self._acquire,
                AcquireOtherSlot: self._acquire_other,
                AcquireCompletionSlot: self._acquire_completion,
                ProbeAnswered: self._on_probe_answered,
                ReleaseSlot: self._on_release,
            },
            on_cancelled=self._take_back,
            on_lost=self._on_lost,
        )

    @property
    def held(self) -> int:
        """Return how many slots the worker holds."""
        return len(self._held)

    def _acquire(self, request: AcquireSlot) -> SlotGranted | Coroutine[Any, Any, SlotGranted]:
        """Grant a slot at once if one is free; only a wait needs a task."""
        lease = self._pool(request.revision).take(_known(request.prompt))
        return self._grant(request.call, lease) if lease else self._wait_for_slot(request)

    async def _wait_for_slot(self, request: AcquireSlot) -> SlotGranted:
        pool = self._pool(request.revision)
        prompt = _known(request.prompt)
        return self._grant(request.call, await pool.acquire(request.key, request.wait, prompt))

    async def _acquire_other(self, request: AcquireOtherSlot) -> SlotGranted | NoOtherSlot:
        pool = self._pool(request.revision)
        prompt = _known(request.prompt)
        lease = await pool.acquire_other(request.key, request.wait, request.tried, prompt)
        return NoOtherSlot(request.call) if lease is None else self._grant(request.call, lease)

    def _acquire_completion(self, request: AcquireCompletionSlot) -> SlotGranted:
        pool, prompt = self._pool(request.revision), _known(request.prompt)
        lease = pool.take_completion(request.prefer, prompt)
        return self._grant(request.call, lease)

    def _grant(self, call: int, lease: LocalLease[FittenSession]) -> SlotGranted:
        account = lease.account
        if self._lost:
            lease.release("unknown")
        else:
            self._held[call] = lease
        return SlotGranted(call, account.name, lease.probe, account.session.current_tokens())

    def _on_probe_answered(self, message: ProbeAnswered) -> None:
        if lease := self._held.get(message.slot):
            lease.answered()

    def _on_release(self, message: ReleaseSlot) -> None:
        if lease := self._held.pop(message.slot, None):
            error = error_from_record(message.failure) if message.failure else None
            lease.release(message.outcome, error, _known(message.prompt))

    def _take_back(self, call: int) -> None:
        """Release a slot that was granted for a request which has been cancelled."""
        if lease := self._held.pop(call, None):
            lease.release("unknown")

    def _on_lost(self) -> None:
        self._lost = True
        held, self._held = self._held, {}
        for lease in held.values():
            lease.release("unknown")

    def _pool(self, revision: int) -> LocalPool[FittenSession]:
        pool = self._pools.get(revision)
        if pool is None:  # the worker has already sent `RevisionDrained`
            raise InternalError
        return pool


def _known(prompt: bytes | None) -> KnownDigest | None:
    return None if prompt is None else KnownDigest(prompt)


class SlotsClient:
    """Requests slots of the master, for every revision of this worker."""

    def __init__(self, rpc: RpcPeer) -> None:
        self._rpc = rpc
        rpc.register(responses=(SlotGranted, NoOtherSlot))

    def pool(
        self, accounts: KnownAccounts, sessions: RemoteSessions, retry_ratio: float
    ) -> RemotePool:
        """Return the pool of the revision that these accounts and sessions belong to."""
        return RemotePool(self._rpc, accounts, sessions, retry_ratio)


class RemotePool:
    """Implements `AccountPool` by requests to the pool in the master.

    The retry budget is the worker's own. It is a share of the worker's requests, so all
    budgets together are the same share of all requests.
    """

    def __init__(
        self, rpc: RpcPeer, accounts: KnownAccounts, sessions: RemoteSessions, retry_ratio: float
    ) -> None:
        self.budget = RetryBudget(retry_ratio)
        self._rpc = rpc
        self._accounts = accounts
        self._sessions = sessions
        self._revision = accounts.revision

    def take(self, prompt: Digest | None = None) -> RemoteLease | None:
        """Return None: only the master knows which slots are free."""
        return None

    async def acquire(
        self, key: str | None, wait: float, prompt: Digest | None = None
    ) -> RemoteLease:
        """See `LocalPool`."""
        number, digest = self._rpc.next_call_id(), self._digest(prompt)
        request = AcquireSlot(number, self._revision, key, wait, digest)
        return self._lease(await self._rpc.call(request, wait), prompt)

    async def acquire_other(
        self, key: str | None, wait: float, tried: Sequence[str], prompt: Digest | None = None
    ) -> RemoteLease | None:
        """See `LocalPool`."""
        number, digest = self._rpc.next_call_id(), self._digest(prompt)
        request = AcquireOtherSlot(number, self._revision, key, wait, tuple(tried), digest)
        response = await self._rpc.call(request, wait)
        return None if isinstance(response, NoOtherSlot) else self._lease(response, prompt)

    async def acquire_completion(
        self, prefer: str | None = None, prompt: Digest | None = None
    ) -> RemoteLease:
        """See `LocalPool`."""
        number, digest = self._rpc.next_call_id(), self._digest(prompt)
        request = AcquireCompletionSlot(number, self._revision, prefer, digest)
        return self._lease(await self._rpc.call(request), prompt)

    def _digest(self, prompt: Digest | None) -> bytes | None:
        """Return the digest if the master may need it to choose an account; most often not."""
        healthy, total = self._accounts.serving
        return None if prompt is None or healthy == total else prompt.value

    def fault(self) -> GatewayError | None:
        """Return why no request can be served now, by the master's last message."""
        return self._accounts.fault

    @property
    def serving(self) -> tuple[int, int]:
        """Return how many accounts could serve, and how many there are, by the last message."""
        return self._accounts.serving

    def _lease(self, granted: SlotGranted, prompt: Digest | None) -> RemoteLease:
        session = self._sessions.session(granted.account, granted.tokens)
        return RemoteLease(granted.call, session, granted.probe, self._rpc, prompt)


class RemoteLease:
    """Holds a slot of the master's pool; see `LocalLease`.

    number: identifies the slot in this worker: the number of the request it was granted for.
    """

    __slots__ = ("_number", "_open", "_prompt", "_rpc", "account", "probe")

    def __init__(
        self,
        number: int,
        account: RemoteSession,
        probe: bool,
        rpc: RpcPeer,
        prompt: Digest | None = None,
    ) -> None:
        self._number = number
        self._prompt = prompt
        self.account = account
        self.probe = probe
        self._rpc = rpc
        self._open = True

    def answered(self) -> None:
        """Record that the upstream began to answer."""
        if self.probe:
            self.probe = False
            self._rpc.send(ProbeAnswered(self._number))

    def release(self, outcome: CallOutcome, error: GatewayError | None = None) -> None:
        """Release the slot and report the outcome of the call; a second time changes nothing."""
        if self._open:
            self._open = False
            failure = error_record(error) if error else None
            prompt = self._prompt if outcome == "bad" else None
            digest = None if prompt is None else prompt.value
            self._rpc.send(ReleaseSlot(self._number, outcome, failure, digest))

    def end(self, error: object) -> None:
        """Release the slot after a call that ended with this error; None means success."""
        self.release(outcome_of(error), error if isinstance(error, GatewayError) else None)
