"""What there is once for some settings, in the parent of workers: the accounts."""

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

_POLL = 0.2  # seconds between looks at whether the accounts are otherwise than was told


class AccountService:
    """Keeps the accounts of one configuration for workers.

    revision: the number of the configuration. on_secret: told every token.
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
        """The hours in which it works."""
        async with self._client.open(), self.registry.maintained(self._found):
            polling = asyncio.create_task(self._poll())
            try:
                yield self
            finally:
                polling.cancel()
                await asyncio.gather(polling, return_exceptions=True)

    def tell(self, listener: StateListener) -> None:
        """Have a worker told how things are, now and whenever that changes."""
        self._look()
        self._listeners.add(listener)
        listener(self._state)
        listener(self._models)

    def unsubscribe(self, listener: StateListener) -> None:
        """It is gone."""
        self._listeners.discard(listener)

    @property
    def serving(self) -> tuple[int, int]:
        """How many accounts could serve a request now, and how many there are."""
        return self.registry.pool.serving

    def learn(self, former: AccountService) -> None:
        """Before it opens: know tokens and models of an office that is to be replaced."""
        self.registry.learn(former.registry)
        self._models = ModelsChanged(self.revision, former._models.models)

    def take_over(self, former: AccountService) -> None:
        """Go on where a former office is, whose workers may still finish."""
        self.registry.take_over(former.registry)

    def _found(self, models: Sequence[Model]) -> None:
        self._models = ModelsChanged(self.revision, tuple(models))
        for listener in self._listeners:
            listener(self._models)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(_POLL)
            self._look()

    def _look(self) -> None:
        fault, (serving, total) = self.registry.pool.fault(), self.registry.pool.serving
        failure = None
        if fault is not None:  # without what changes with every look, such as a wait
            failure = error_record(type(fault)(fault.message, code=fault.code))
        state = AccountsState(self.revision, failure, serving, total)
        if state != self._state:
            self._state = state
            for listener in self._listeners:
                listener(state)
