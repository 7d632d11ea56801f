"""Handles the requests of one worker, in the master."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from gateway.accounts.account import Account, LocalLease
from gateway.accounts.pool import LocalPool
from gateway.errors import GatewayError, InternalError
from gateway.fitten.auth.session import FittenSession
from gateway.fitten.completion.supersede import CompletionKey
from gateway.store.rate_windows import SlidingWindows, Window
from gateway.workers.rpc.messages import (
    AcquireCompletionSlot,
    AcquireOtherSlot,
    AcquireSlot,
    CancelRequest,
    CompletionBegan,
    CompletionEnded,
    CompletionSuperseded,
    CountRequest,
    FetchTokens,
    FromWorker,
    NoOtherSlot,
    ProbeAnswered,
    ReleaseSlot,
    ReplaceTokens,
    RequestCounted,
    RpcFailed,
    RpcMessage,
    RpcRequest,
    SessionRefused,
    SlotGranted,
    TokensFetched,
    error_from_record,
    error_record,
)

_log = structlog.get_logger("workers")

R = TypeVar("R", bound=RpcRequest)


class MasterState:
    """Holds the state that all workers share under every configuration.

    windows: the rate-limit windows.
    newest: the newest completion of each caller and file: the server of its worker, and the
        completion's number in this worker.
    """

    def __init__(self) -> None:
        self.windows = SlidingWindows()
        self.newest: dict[CompletionKey, tuple[RpcServer, int]] = {}


class RpcServer:
    """Handles the messages of one worker, and keeps track of the slots that the worker holds.

    When the worker ends, `close` releases all its slots.

    send: sends a message to the worker.
    pools: the pool of each revision that the worker uses. The owner of the server adds and
        removes them.
    """

    def __init__(self, state: MasterState, send: Callable[[RpcMessage], None]) -> None:
        self.pools: dict[int, LocalPool[FittenSession]] = {}
        self._state = state
        self._completions: dict[int, CompletionKey] = {}
        self.send = send
        self._slots: dict[int, LocalLease[FittenSession]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._closed = False

    def receive(self, message: FromWorker) -> None:
        """Handle a message of the worker."""
        if self._closed:
            return
        match message:
            case CountRequest():
                window = Window(message.limit, message.seconds, message.callers)
                admission = self._state.windows.admit_now(message.name, message.caller, window)
                self.send(
                    RequestCounted(
                        message.call,
                        admission.admitted,
                        admission.count,
                        admission.first,
                        admission.last,
                    )
                )
            case AcquireSlot():
                pool = self.pools.get(message.revision)
                if pool is not None and (lease := pool.take()):
                    self._grant(message.call, lease)
                else:
                    self._start_task(message, self._acquire)
            case AcquireCompletionSlot() | AcquireOtherSlot() | FetchTokens() | ReplaceTokens():
                self._start_task(message, self._respond)
            case ReleaseSlot():
                if lease := self._slots.pop(message.slot, None):
                    error = error_from_record(message.failure) if message.failure else None
                    lease.release(message.outcome, error)
            case ProbeAnswered():
                if lease := self._slots.get(message.slot):
                    lease.answered()
            case CancelRequest():
                # The slot first: the task that granted it may still be in `_tasks`.
                if lease := self._slots.pop(message.call, None):
                    lease.release("unknown")
                elif task := self._tasks.get(message.call):
                    task.cancel()
            case CompletionBegan():
                self._completions[message.completion] = key = message.caller, message.filename
                older = self._state.newest.get(key)
                self._state.newest[key] = self, message.completion
                if older is not None and older[0] is not self:
                    older[0].send(CompletionSuperseded(older[1]))
            case CompletionEnded():
                self._end_completion(message.completion)
            case SessionRefused():
                if account := self._account(message.revision, message.account):
                    account.session.refused()

    def close(self) -> None:
        """Release the slots of the worker and cancel its requests: the worker has ended."""
        if self._closed:
            return
        self._closed = True
        for task in self._tasks.values():
            task.cancel()
        for completion in list(self._completions):
            self._end_completion(completion)
        slots, self._slots = self._slots, {}
        for lease in slots.values():
            lease.release("unknown")

    @property
    def held_slots(self) -> int:
        """Return how many slots the worker holds."""
        return len(self._slots)

    def _end_completion(self, completion: int) -> None:
        key = self._completions.pop(completion, None)
        if key is not None and self._state.newest.get(key) == (self, completion):
            del self._state.newest[key]

    def _start_task(self, request: R, handler: Callable[[R], Awaitable[None]]) -> None:
        task = asyncio.create_task(self._run(request, handler))
        self._tasks[request.call] = task
        task.add_done_callback(lambda _: self._tasks.pop(request.call, None))

    async def _run(self, request: R, handler: Callable[[R], Awaitable[None]]) -> None:
        try:
            await handler(request)
        except GatewayError as error:
            self.send(RpcFailed(request.call, error_record(error)))
        except Exception:
            _log.exception("bug")
            self.send(RpcFailed(request.call, error_record(InternalError())))

    async def _acquire(self, request: AcquireSlot) -> None:
        pool = self._pool(request)
        self._grant(request.call, await pool.acquire(request.key, request.wait))

    async def _respond(
        self, request: AcquireCompletionSlot | AcquireOtherSlot | FetchTokens | ReplaceTokens
    ) -> None:
        match request:
            case AcquireCompletionSlot():
                self._grant(request.call, self._pool(request).take_completion(request.prefer))
            case AcquireOtherSlot():
                pool = self._pool(request)
                lease = await pool.acquire_other(request.key, request.wait, request.tried)
                if lease is None:
                    self.send(NoOtherSlot(request.call))
                else:
                    self._grant(request.call, lease)
            case FetchTokens():
                tokens = await self._session(request).tokens()
                self.send(TokensFetched(request.call, tokens))
            case ReplaceTokens():
                tokens = await self._session(request).replace(request.rejected, request.way)
                self.send(TokensFetched(request.call, tokens))

    def _grant(self, call: int, lease: LocalLease[FittenSession]) -> None:
        if self._closed:
            lease.release("unknown")
            return
        self._slots[call] = lease
        account = lease.account
        self.send(SlotGranted(call, account.name, lease.probe, account.session.current_tokens()))

    def _pool(self, request: RpcRequest) -> LocalPool[FittenSession]:
        pool = self.pools.get(request.revision)
        if pool is None:  # the worker has already sent `RevisionDrained`
            raise InternalError
        return pool

    def _account(self, revision: int, name: str) -> Account[FittenSession] | None:
        accounts = self.pools[revision].accounts if revision in self.pools else ()
        return next((account for account in accounts if account.name == name), None)

    def _session(self, request: FetchTokens | ReplaceTokens) -> FittenSession:
        account = self._account(request.revision, request.account)
        if account is None:
            raise InternalError
        return account.session
