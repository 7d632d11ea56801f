"""Keeps the accounts of one configuration in the master, and reports changes to workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from gateway.config.settings import Config
from gateway.fitten.account_registry import LocalAccountRegistry
from gateway.fitten.client import FittenClient
from gateway.generation.model import Model
from gateway.workers.rpc.messages import AccountsState, ModelsChanged, error_record

StateListener = Callable[[AccountsState | ModelsChanged], None]

_POLL = 0.2  # seconds between two checks whether the state of the accounts has changed


class AccountService:
    """Keeps the accounts of one configuration for the workers.

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
    async def open(self) -> AsyncIterator[AccountService]:
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

    def copy_sessions_and_models(self, former: AccountService) -> None:
        """Copy what the former service knows, so that no account logs in again.

        To be called before `open`.
        """
        self.registry.copy_sessions(former.registry)
        self._models = ModelsChanged(self.revision, former._models.models)

    def take_over(self, former: AccountService) -> None:
        """Take the slots, the queue and the health of the former service's accounts.

        Workers may still finish requests with leases of the former service.
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
