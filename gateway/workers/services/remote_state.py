"""A worker's view of what its parent keeps: accounts, slots, tokens, windows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from gateway.accounts.health import CallOutcome, outcome_of
from gateway.accounts.retry_budget import RetryBudget
from gateway.config.settings import Config
from gateway.errors import GatewayError
from gateway.fitten.account_registry import OnModels
from gateway.fitten.auth.reauthenticate import Renewal, session_refused_error
from gateway.fitten.client import FittenClient
from gateway.fitten.completion.supersede import ActiveCompletion, NewestCompletions
from gateway.generation.model import Model
from gateway.store.rate_windows import Admission, Window
from gateway.store.token_file import Tokens
from gateway.workers.rpc.client import RpcClient
from gateway.workers.rpc.messages import (
    AccountsState,
    AcquireCompletionSlot,
    AcquireOtherSlot,
    AcquireSlot,
    CompletionBegan,
    CompletionEnded,
    CountRequest,
    FetchTokens,
    FromMaster,
    ModelsChanged,
    NoOtherSlot,
    ProbeAnswered,
    ReleaseSlot,
    ReplaceTokens,
    SessionRefused,
    SlotGranted,
    error_from_record,
    error_record,
)

_LOGIN_TIMEOUT = 120.0  # seconds; the limits of the calls it is made of are shorter


class RemoteState:
    """What the parent keeps for all workers, under one configuration.

    rpc: the line to it. shift: the number of the configuration. turns: the worker's.
    """

    def __init__(
        self, rpc: RpcClient, revision: int, newest_completions: RemoteNewestCompletions
    ) -> None:
        self._rpc = rpc
        self.revision = revision
        self._state = AccountsState(revision, None, 0, 0)
        self._models: tuple[Model, ...] = ()
        self._found: OnModels | None = None
        self.windows = self
        self.newest_completions = newest_completions

    def told(self, message: FromMaster) -> None:
        """The parent has told something."""
        if isinstance(message, AccountsState):
            self._state = message
        elif isinstance(message, ModelsChanged):
            self._models = message.models
            if self._found is not None:
                self._found(message.models)

    @property
    def state(self) -> AccountsState:
        """How the accounts are, by the last word."""
        return self._state

    async def admit(self, name: str, caller: str, window: Window) -> Admission:
        """See `Windows`."""
        limits = window.limit, window.seconds, window.callers
        question = CountRequest(self._rpc.next_call(), self.revision, name, caller, *limits)
        answer = await self._rpc.ask(question)
        return Admission(answer.admitted, answer.count, answer.first, answer.last)

    def accounts(
        self, config: Config, client: FittenClient, on_secret: Callable[[str], None]
    ) -> RemoteAccountRegistry:
        """See `Shared`."""
        return RemoteAccountRegistry(self, self._rpc, config.fitten.pool.retry_ratio, on_secret)

    async def listen(self, found: OnModels) -> None:
        """Have this told the models, those that are known at once."""
        self._found = found
        if self._models:
            found(self._models)


class RemoteNewestCompletions(NewestCompletions):
    """Turns of which other workers hear, and that theirs can end."""

    def __init__(self, rpc: RpcClient) -> None:
        super().__init__()
        self._rpc = rpc
        self._numbers: dict[ActiveCompletion, int] = {}
        self._open: dict[int, ActiveCompletion] = {}

    def begin(self, active: ActiveCompletion) -> None:
        super().begin(active)
        number = self._rpc.next_call()
        self._numbers[active], self._open[number] = number, active
        self._rpc.tell(CompletionBegan(number, *active.key))

    def over(self, active: ActiveCompletion) -> None:
        super().over(active)
        number = self._numbers.pop(active)
        del self._open[number]
        self._rpc.tell(CompletionEnded(number))

    def superseded(self, number: int) -> None:
        """Another worker has a newer one."""
        if active := self._open.get(number):
            active.end()


class RemoteAccountRegistry:
    """The accounts as an application of a worker has them."""

    shared = True

    def __init__(
        self,
        remote_state: RemoteState,
        rpc: RpcClient,
        retry_ratio: float,
        on_secret: Callable[[str], None],
    ) -> None:
        self._remote_state = remote_state
        self.pool = RemotePool(remote_state, rpc, retry_ratio, on_secret)
        self.newest_completions = remote_state.newest_completions
        self.tried = asyncio.Event()
        self.tried.set()  # by the parent, before there were workers

    @asynccontextmanager
    async def maintained(self, found: OnModels) -> AsyncIterator[None]:
        """They are kept by the parent."""
        await self._remote_state.listen(found)
        yield


class RemotePool:
    """The parent's pool. The budget of repeats is this worker's own: as a share of its own
    requests, it is the right share of all."""

    def __init__(
        self,
        remote_state: RemoteState,
        rpc: RpcClient,
        retry_ratio: float,
        on_secret: Callable[[str], None],
    ) -> None:
        self.budget = RetryBudget(retry_ratio)
        self._remote_state = remote_state
        self._rpc = rpc
        self._on_secret = on_secret
        self._known: dict[str, Tokens] = {}

    def take(self) -> RemoteLease | None:
        """Nothing is known without asking."""
        return None

    async def acquire(self, key: str | None, wait: float) -> RemoteLease:
        """See `Pool`."""
        question = AcquireSlot(self._rpc.next_call(), self._remote_state.revision, key, wait)
        return self._slot(await self._rpc.ask(question, wait))

    async def another(
        self, key: str | None, wait: float, tried: Sequence[str]
    ) -> RemoteLease | None:
        """See `Pool`."""
        question = AcquireOtherSlot(
            self._rpc.next_call(), self._remote_state.revision, key, wait, tuple(tried)
        )
        answer = await self._rpc.ask(question, wait)
        return None if isinstance(answer, NoOtherSlot) else self._slot(answer)

    async def acquire_completion(self, prefer: str | None = None) -> RemoteLease:
        """See `Pool`."""
        question = AcquireCompletionSlot(self._rpc.next_call(), self._remote_state.revision, prefer)
        return self._slot(await self._rpc.ask(question))

    @property
    def revision(self) -> int:
        """The number of the configuration."""
        return self._remote_state.revision

    def fault(self) -> GatewayError | None:
        """Why no request can be served now, by the parent's last word."""
        failure = self._remote_state.state.fault
        return error_from_record(failure) if failure else None

    @property
    def serving(self) -> tuple[int, int]:
        """How many accounts could serve, and how many there are, by the parent's last word."""
        return self._remote_state.state.serving, self._remote_state.state.accounts

    def seen(self, account: str, tokens: Tokens) -> None:
        """These tokens are in use from now on; logs have to mask them."""
        if self._known.get(account) != tokens:
            self._known[account] = tokens
            for secret in (tokens.access_token, tokens.refresh_token, tokens.user_id):
                self._on_secret(secret)

    def _slot(self, lent: SlotGranted) -> RemoteLease:
        if lent.tokens is not None:
            self.seen(lent.account, lent.tokens)
        session = RemoteSession(lent.account, lent.tokens, self._rpc, self)
        return RemoteLease(lent.call, session, lent.probe, self._rpc)


class RemoteSession:
    """An account's tokens for one request. Name of the account, and of the session, are one."""

    __slots__ = ("_pool", "_rpc", "_tokens", "name")

    def __init__(
        self,
        name: str,
        tokens: Tokens | None,
        rpc: RpcClient,
        pool: RemotePool,
    ) -> None:
        self.name = name
        self._tokens = tokens
        self._rpc = rpc
        self._pool = pool

    @property
    def session(self) -> RemoteSession:
        """Itself: an account is nothing else here."""
        return self

    async def tokens(self) -> Tokens:
        """See `TokenSource`."""
        return self._tokens or await self._fetch(
            FetchTokens(self._rpc.next_call(), self._pool.revision, self.name)
        )

    async def replace(self, rejected: Tokens, way: Renewal) -> Tokens:
        """See `TokenSource`."""
        return await self._fetch(
            ReplaceTokens(self._rpc.next_call(), self._pool.revision, self.name, rejected, way)
        )

    def refused(self) -> GatewayError:
        """See `TokenSource`."""
        self._rpc.tell(SessionRefused(self._pool.revision, self.name))
        return session_refused_error()

    async def _fetch(self, question: Any) -> Tokens:
        answer = await self._rpc.ask(question, _LOGIN_TIMEOUT)
        tokens: Tokens = answer.tokens
        self._tokens = tokens
        self._pool.seen(self.name, tokens)
        return tokens


class RemoteLease:
    """A slot of the parent's pool, in this worker's hands; see `Lease`."""

    __slots__ = ("_number", "_open", "_rpc", "account", "probe")

    def __init__(self, number: int, account: RemoteSession, probe: bool, rpc: RpcClient) -> None:
        self._number = number
        self.account = account
        self.probe = probe
        self._rpc = rpc
        self._open = True

    def answered(self) -> None:
        """The upstream began to answer."""
        if self.probe:
            self.probe = False
            self._rpc.tell(ProbeAnswered(self._number))

    def release(self, outcome: CallOutcome, error: GatewayError | None = None) -> None:
        """Give the slot back and say what came of it; a second time changes nothing."""
        if self._open:
            self._open = False
            failure = error_record(error) if error else None
            self._rpc.tell(ReleaseSlot(self._number, outcome, failure))

    def end(self, error: object) -> None:
        """Give the slot back after a call that ended with this error, or well with None."""
        self.release(outcome_of(error), error if isinstance(error, GatewayError) else None)
