"""Where one worker's questions are answered, in the parent."""

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

Q = TypeVar("Q", bound=RpcRequest)


class MasterState:
    """What workers have in common whatever the settings are: windows, and whose completion of
    a caller and file is the newest."""

    def __init__(self) -> None:
        self.windows = SlidingWindows()
        self.newest: dict[CompletionKey, tuple[RpcServer, int]] = {}


class RpcServer:
    """Answers one worker, and knows what it holds: all of it comes back when it is gone.

    reply: sends it an answer. pools: by the shift under which a question is asked; whoever
        owns the desk puts them there and takes them away.
    """

    def __init__(self, state: MasterState, reply: Callable[[RpcMessage], None]) -> None:
        self.pools: dict[int, LocalPool[FittenSession]] = {}
        self._state = state
        self._completions: dict[int, CompletionKey] = {}
        self.reply = reply
        self._slots: dict[int, LocalLease[FittenSession]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._closed = False

    def take(self, message: FromWorker) -> None:
        """The worker has said something."""
        if self._closed:
            return
        match message:
            case CountRequest():
                window = Window(message.limit, message.seconds, message.callers)
                found = self._state.windows.admit_now(message.name, message.caller, window)
                self.reply(
                    RequestCounted(
                        message.call, found.admitted, found.count, found.first, found.last
                    )
                )
            case AcquireSlot():
                pool = self.pools.get(message.revision)
                if pool is not None and (lease := pool.take()):
                    self._grant(message.call, lease)
                else:
                    self._begin(message, self._acquire)
            case AcquireCompletionSlot() | AcquireOtherSlot() | FetchTokens() | ReplaceTokens():
                self._begin(message, self._answer)
            case ReleaseSlot():
                if held := self._slots.pop(message.slot, None):
                    error = error_from_record(message.failure) if message.failure else None
                    held.release(message.outcome, error)
            case ProbeAnswered():
                if held := self._slots.get(message.slot):
                    held.answered()
            case CancelRequest():
                # First the slot: a task that has brought one may be remembered a moment longer.
                if held := self._slots.pop(message.call, None):
                    held.release("unknown")
                elif task := self._tasks.get(message.call):
                    task.cancel()
            case CompletionBegan():
                self._completions[message.completion] = key = message.caller, message.filename
                older = self._state.newest.get(key)
                self._state.newest[key] = self, message.completion
                if older is not None and older[0] is not self:
                    older[0].reply(CompletionSuperseded(older[1]))
            case CompletionEnded():
                self._over(message.completion)
            case SessionRefused():
                if account := self._account(message.revision, message.account):
                    account.session.refused()

    def close(self) -> None:
        """The worker is gone: what it held comes back, what it waited for is given up."""
        if self._closed:
            return
        self._closed = True
        for task in self._tasks.values():
            task.cancel()
        for completion in list(self._completions):
            self._over(completion)
        slots, self._slots = self._slots, {}
        for held in slots.values():
            held.release("unknown")

    @property
    def held(self) -> int:
        """How many slots the worker holds."""
        return len(self._slots)

    def _over(self, completion: int) -> None:
        key = self._completions.pop(completion, None)
        if key is not None and self._state.newest.get(key) == (self, completion):
            del self._state.newest[key]

    def _begin(self, question: Q, answer: Callable[[Q], Awaitable[None]]) -> None:
        task = asyncio.create_task(self._guarded(question, answer))
        self._tasks[question.call] = task
        task.add_done_callback(lambda _: self._tasks.pop(question.call, None))

    async def _guarded(self, question: Q, answer: Callable[[Q], Awaitable[None]]) -> None:
        try:
            await answer(question)
        except GatewayError as error:
            self.reply(RpcFailed(question.call, error_record(error)))
        except Exception:
            _log.exception("bug")
            self.reply(RpcFailed(question.call, error_record(InternalError())))

    async def _acquire(self, question: AcquireSlot) -> None:
        pool = self._pool(question)
        self._grant(question.call, await pool.acquire(question.key, question.wait))

    async def _answer(
        self, question: AcquireCompletionSlot | AcquireOtherSlot | FetchTokens | ReplaceTokens
    ) -> None:
        match question:
            case AcquireCompletionSlot():
                self._grant(question.call, self._pool(question).take_completion(question.prefer))
            case AcquireOtherSlot():
                pool = self._pool(question)
                lease = await pool.another(question.key, question.wait, question.tried)
                if lease is None:
                    self.reply(NoOtherSlot(question.call))
                else:
                    self._grant(question.call, lease)
            case FetchTokens():
                tokens = await self._session(question).tokens()
                self.reply(TokensFetched(question.call, tokens))
            case ReplaceTokens():
                tokens = await self._session(question).replace(question.rejected, question.way)
                self.reply(TokensFetched(question.call, tokens))

    def _grant(self, call: int, lease: LocalLease[FittenSession]) -> None:
        if self._closed:
            lease.release("unknown")
            return
        self._slots[call] = lease
        account = lease.account
        self.reply(SlotGranted(call, account.name, lease.probe, account.session.at_hand()))

    def _pool(self, question: RpcRequest) -> LocalPool[FittenSession]:
        pool = self.pools.get(question.revision)
        if pool is None:  # a worker that asks after it has said `Left`
            raise InternalError
        return pool

    def _account(self, revision: int, name: str) -> Account[FittenSession] | None:
        accounts = self.pools[revision].accounts if revision in self.pools else ()
        return next((account for account in accounts if account.name == name), None)

    def _session(self, question: FetchTokens | ReplaceTokens) -> FittenSession:
        account = self._account(question.revision, question.account)
        if account is None:
            raise InternalError
        return account.session
