"""Gives a worker access to the state in its master: accounts, slots, tokens, windows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

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

_LOGIN_TIMEOUT = 120.0  # seconds; each HTTP call of a login has a shorter limit of its own


class RemoteState:
    """Implements `SharedState` for one configuration, by requests to the master.

    rpc: sends the requests.
    revision: the number of the configuration.
    newest_completions: those of the worker, under all configurations.
    """

    def __init__(
        self, rpc: RpcClient, revision: int, newest_completions: RemoteNewestCompletions
    ) -> None:
        self._rpc = rpc
        self.revision = revision
        self._state = AccountsState(revision, None, 0, 0)
        self._models: tuple[Model, ...] = ()
        self._on_models: OnModels | None = None
        self.windows = self
        self.newest_completions = newest_completions

    def update(self, message: FromMaster) -> None:
        """Store the state of the accounts or the models that the master has sent."""
        if isinstance(message, AccountsState):
            self._state = message
        elif isinstance(message, ModelsChanged):
            self._models = message.models
            if self._on_models is not None:
                self._on_models(message.models)

    @property
    def state(self) -> AccountsState:
        """Return the last state of the accounts that the master has sent."""
        return self._state

    async def admit(self, name: str, caller: str, window: Window) -> Admission:
        """See `RateWindows`."""
        limits = window.limit, window.seconds, window.callers
        request = CountRequest(self._rpc.next_call_id(), self.revision, name, caller, *limits)
        counted = await self._rpc.call(request)
        return Admission(counted.admitted, counted.count, counted.first, counted.last)

    def accounts(
        self, config: Config, client: FittenClient, on_secret: Callable[[str], None]
    ) -> RemoteAccountRegistry:
        """See `SharedState`."""
        return RemoteAccountRegistry(self, self._rpc, config.fitten.pool.retry_ratio, on_secret)

    def subscribe(self, on_models: OnModels) -> None:
        """Call `on_models` with the models, now if they are known, and whenever they change."""
        self._on_models = on_models
        if self._models:
            on_models(self._models)


class RemoteNewestCompletions(NewestCompletions):
    """Tracks the newest completions of all workers.

    Reports the completions of this worker to the master, which ends older ones in other workers.
    """

    def __init__(self, rpc: RpcClient) -> None:
        super().__init__()
        self._rpc = rpc
        self._numbers: dict[ActiveCompletion, int] = {}
        self._open: dict[int, ActiveCompletion] = {}

    def begin(self, active: ActiveCompletion) -> None:
        super().begin(active)
        number = self._rpc.next_call_id()
        self._numbers[active], self._open[number] = number, active
        self._rpc.send(CompletionBegan(number, *active.key))

    def over(self, active: ActiveCompletion) -> None:
        super().over(active)
        number = self._numbers.pop(active)
        del self._open[number]
        self._rpc.send(CompletionEnded(number))

    def supersede(self, number: int) -> None:
        """End a completion, since another worker has a newer one."""
        if active := self._open.get(number):
            active.end()


class RemoteAccountRegistry:
    """Implements `AccountRegistry` in a worker; the master keeps the accounts."""

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
        self.tried.set()  # the master waits for it before it prepares workers for a reload

    @asynccontextmanager
    async def maintained(self, found: OnModels) -> AsyncIterator[None]:
        """Pass on the models of the master, which logs in and reads them."""
        self._remote_state.subscribe(found)
        yield


class RemotePool:
    """Implements `AccountPool` by requests to the pool in the master.

    The retry budget is the worker's own. It is a share of the worker's requests, so all
    budgets together are the same share of all requests.
    """

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
        self._known_tokens: dict[str, Tokens] = {}

    def take(self) -> RemoteLease | None:
        """Return None: only the master knows which slots are free."""
        return None

    async def acquire(self, key: str | None, wait: float) -> RemoteLease:
        """See `LocalPool`."""
        request = AcquireSlot(self._rpc.next_call_id(), self.revision, key, wait)
        return self._lease(await self._rpc.call(request, wait))

    async def acquire_other(
        self, key: str | None, wait: float, tried: Sequence[str]
    ) -> RemoteLease | None:
        """See `LocalPool`."""
        request = AcquireOtherSlot(self._rpc.next_call_id(), self.revision, key, wait, tuple(tried))
        response = await self._rpc.call(request, wait)
        return None if isinstance(response, NoOtherSlot) else self._lease(response)

    async def acquire_completion(self, prefer: str | None = None) -> RemoteLease:
        """See `LocalPool`."""
        request = AcquireCompletionSlot(self._rpc.next_call_id(), self.revision, prefer)
        return self._lease(await self._rpc.call(request))

    @property
    def revision(self) -> int:
        """Return the number of the configuration."""
        return self._remote_state.revision

    def fault(self) -> GatewayError | None:
        """Return why no request can be served now, by the master's last message."""
        failure = self._remote_state.state.fault
        return error_from_record(failure) if failure else None

    @property
    def serving(self) -> tuple[int, int]:
        """Return how many accounts could serve, and how many there are, by the last message."""
        return self._remote_state.state.serving, self._remote_state.state.accounts

    def register_tokens(self, account: str, tokens: Tokens) -> None:
        """Register tokens before they are used, so that logs mask them."""
        if self._known_tokens.get(account) != tokens:
            self._known_tokens[account] = tokens
            for secret in (tokens.access_token, tokens.refresh_token, tokens.user_id):
                self._on_secret(secret)

    def _lease(self, granted: SlotGranted) -> RemoteLease:
        if granted.tokens is not None:
            self.register_tokens(granted.account, granted.tokens)
        session = RemoteSession(granted.account, granted.tokens, self._rpc, self)
        return RemoteLease(granted.call, session, granted.probe, self._rpc)


class RemoteSession:
    """Holds the tokens of an account for one request.

    It stands for the account too (see `LeasedAccount`): a request needs nothing else of it.
    """

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
        """Return this object, which is account and session in one."""
        return self

    async def tokens(self) -> Tokens:
        """See `TokenSource`."""
        return self._tokens or await self._fetch(
            FetchTokens(self._rpc.next_call_id(), self._pool.revision, self.name)
        )

    async def replace(self, rejected: Tokens, way: Renewal) -> Tokens:
        """See `TokenSource`."""
        return await self._fetch(
            ReplaceTokens(self._rpc.next_call_id(), self._pool.revision, self.name, rejected, way)
        )

    def refused(self) -> GatewayError:
        """See `TokenSource`."""
        self._rpc.send(SessionRefused(self._pool.revision, self.name))
        return session_refused_error()

    async def _fetch(self, request: FetchTokens | ReplaceTokens) -> Tokens:
        response = await self._rpc.call(request, _LOGIN_TIMEOUT)
        tokens: Tokens = response.tokens
        self._tokens = tokens
        self._pool.register_tokens(self.name, tokens)
        return tokens


class RemoteLease:
    """Holds a slot of the master's pool; see `LocalLease`.

    number: identifies the slot in this worker: the number of the request it was granted for.
    """

    __slots__ = ("_number", "_open", "_rpc", "account", "probe")

    def __init__(self, number: int, account: RemoteSession, probe: bool, rpc: RpcClient) -> None:
        self._number = number
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
            self._rpc.send(ReleaseSlot(self._number, outcome, failure))

    def end(self, error: object) -> None:
        """Release the slot after a call that ended with this error; None means success."""
        self.release(outcome_of(error), error if isinstance(error, GatewayError) else None)
