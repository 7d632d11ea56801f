"""Keeps the accounts of each configuration in the master; workers know their state and models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from gateway.accounts.pool import LocalPool
from gateway.config.settings import Config
from gateway.errors import GatewayError
from gateway.fitten.account_registry import LocalAccountRegistry, OnModels
from gateway.fitten.auth.session import FittenSession
from gateway.fitten.client import FittenClient
from gateway.generation.model import Model
from gateway.workers.rpc.error_record import ErrorRecord, error_from_record, error_record
from gateway.workers.rpc.messages import RpcMessage
from gateway.workers.rpc.peer import RpcPeer

_POLL = 0.2  # seconds between two checks whether the state of the accounts has changed


class AccountsState(RpcMessage, frozen=True):
    """Tells the state of the accounts of a revision.

    fault: why no request can be served now; None if one can.
    serving: how many accounts could serve a request. accounts: how many there are.
    """

    revision: int
    fault: ErrorRecord | None
    serving: int
    accounts: int


class ModelsChanged(RpcMessage, frozen=True):
    """Tells which models a revision offers."""

    revision: int
    models: tuple[Model, ...]


StateListener = Callable[[AccountsState | ModelsChanged], None]


# In the master.


class MasterAccounts:
    """Keeps the accounts of one configuration for all workers.

    revision: the number of the configuration.
    on_secret: called with each token before it is used.
    registry: the accounts themselves.
    """

    def __init__(self, revision: int, config: Config, on_secret: Callable[[str], None]) -> None:
        self.revision = revision
        self._client = FittenClient(config.fitten)
        self.registry = LocalAccountRegistry(config, self._client, on_secret)
        self._listeners: set[StateListener] = set()
        self._state = AccountsState(revision, None, 0, 0)
        self._models = ModelsChanged(revision, ())

    @asynccontextmanager
    async def open(self) -> AsyncIterator[MasterAccounts]:
        """Keep the accounts logged in and their models current within the context."""
        async with self._client.open(), self.registry.maintained(self._on_models):
            polling = asyncio.create_task(self._poll())
            try:
                yield self
            finally:
                polling.cancel()
                await asyncio.gather(polling, return_exceptions=True)

    def subscribe(self, listener: StateListener) -> None:
        """Call a listener with the state and the models, now and whenever they change."""
        self._check()
        self._listeners.add(listener)
        listener(self._state)
        listener(self._models)

    def unsubscribe(self, listener: StateListener) -> None:
        """Call this listener no more."""
        self._listeners.discard(listener)

    @property
    def serving(self) -> tuple[int, int]:
        """Return how many accounts could serve a request now, and how many there are."""
        return self.registry.pool.serving

    def copy_sessions_and_models(self, former: MasterAccounts) -> None:
        """Copy what the former accounts know, so that none of them logs in again.

        To be called before `open`.
        """
        self.registry.copy_sessions(former.registry)
        self._models = ModelsChanged(self.revision, former._models.models)

    def take_over(self, former: MasterAccounts) -> None:
        """Take the slots, the queue and the health of the former accounts.

        Workers may still finish requests with leases of the former accounts.
        """
        self.registry.take_over(former.registry)

    def _on_models(self, models: Sequence[Model]) -> None:
        self._models = ModelsChanged(self.revision, tuple(models))
        for listener in self._listeners:
            listener(self._models)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(_POLL)
            self._check()

    def _check(self) -> None:
        fault, (serving, total) = self.registry.pool.fault(), self.registry.pool.serving
        failure = None
        if fault is not None:  # without `retry_after`, which is different at every check
            failure = error_record(type(fault)(fault.message, code=fault.code))
        state = AccountsState(self.revision, failure, serving, total)
        if state != self._state:
            self._state = state
            for listener in self._listeners:
                listener(state)


class AccountsServer:
    """Sends one worker the state and the models of each revision that it uses.

    accounts, pools: those of each of these revisions.
    """

    def __init__(self, rpc: RpcPeer) -> None:
        self.accounts: dict[int, MasterAccounts] = {}
        self.pools: dict[int, LocalPool[FittenSession]] = {}
        self._rpc = rpc

    def add(self, accounts: MasterAccounts) -> None:
        """Allow the worker these accounts, and send it their state from now on."""
        self.accounts[accounts.revision] = accounts
        self.pools[accounts.revision] = accounts.registry.pool
        accounts.subscribe(self._rpc.send)

    def remove(self, revision: int) -> MasterAccounts | None:
        """Remove and return the accounts of a revision that the worker uses no longer."""
        self.pools.pop(revision, None)
        if accounts := self.accounts.pop(revision, None):
            accounts.unsubscribe(self._rpc.send)
        return accounts


# In a worker.


class AccountsClient:
    """Receives the state of the master's accounts, for each revision of this worker."""

    def __init__(self, rpc: RpcPeer) -> None:
        self._known: dict[int, KnownAccounts] = {}
        rpc.register({AccountsState: self._on_state, ModelsChanged: self._on_models})

    def known(self, revision: int) -> KnownAccounts:
        """Return what is known of the accounts of a revision."""
        if revision not in self._known:
            self._known[revision] = KnownAccounts(revision)
        return self._known[revision]

    def forget(self, revision: int) -> None:
        """Forget the accounts of a revision that is not used any more."""
        self._known.pop(revision, None)

    def _on_state(self, message: AccountsState) -> None:
        self.known(message.revision).state = message

    def _on_models(self, message: ModelsChanged) -> None:
        self.known(message.revision).change_models(message.models)


class KnownAccounts:
    """Holds what a worker knows of the accounts of one revision.

    state: the last one that the master has sent.
    """

    def __init__(self, revision: int) -> None:
        self.revision = revision
        self.state = AccountsState(revision, None, 0, 0)
        self._models: tuple[Model, ...] = ()
        self._on_models: OnModels | None = None

    @property
    def fault(self) -> GatewayError | None:
        """Return why no request can be served now, by the master's last message."""
        return error_from_record(self.state.fault) if self.state.fault else None

    @property
    def serving(self) -> tuple[int, int]:
        """Return how many accounts could serve, and how many there are, by the last message."""
        return self.state.serving, self.state.accounts

    def subscribe(self, on_models: OnModels) -> None:
        """Call `on_models` with the models, now if they are known, and whenever they change."""
        self._on_models = on_models
        if self._models:
            on_models(self._models)

    def change_models(self, models: tuple[Model, ...]) -> None:
        """Store the models that the master has sent, and pass them on."""
        self._models = models
        if self._on_models is not None:
            self._on_models(models)
