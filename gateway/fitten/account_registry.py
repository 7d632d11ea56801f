"""Builds the accounts of a configuration: their pool, sessions and background refresh."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from gateway.accounts.account import Account
from gateway.accounts.health import Health
from gateway.accounts.interface import AccountPool
from gateway.accounts.pool import LocalPool
from gateway.config.settings import AccountSettings, Config, FittenSettings
from gateway.fitten.auth.reauthenticate import TokenSource
from gateway.fitten.auth.session import FittenSession
from gateway.fitten.background_refresh import BackgroundRefresh
from gateway.fitten.client import FittenClient
from gateway.fitten.completion.supersede import NewestCompletions
from gateway.generation.model import Model
from gateway.store.token_file import TokenFile

OnModels = Callable[[Sequence[Model]], None]


class AccountRegistry(Protocol):
    """Holds the accounts, in this process or in another one.

    shared: whether other processes use the accounts too. Then this process does not know
        which request Fitten received last.
    tried: set when Fitten has been asked for the models once, or no login worked.
    """

    @property
    def shared(self) -> bool: ...

    @property
    def pool(self) -> AccountPool[TokenSource]: ...

    @property
    def newest_completions(self) -> NewestCompletions: ...

    @property
    def tried(self) -> asyncio.Event: ...

    def maintained(self, found: OnModels) -> AbstractAsyncContextManager[None]:
        """Return the context in which the accounts are used.

        found: called with the models that Fitten offers.
        """
        ...


class LocalAccountRegistry:
    """Holds the accounts in this process.

    client: makes the calls. It must be open while the context of `maintained` is.
    on_secret: called with each token and user id.
    also_stored: accounts that are not used, and whose stored tokens are kept.
    """

    shared = False

    def __init__(
        self,
        config: Config,
        client: FittenClient,
        on_secret: Callable[[str], None],
        *,
        also_stored: Sequence[AccountSettings] = (),
    ) -> None:
        settings = config.fitten
        rules, clock = settings.pool, time.monotonic
        owners = [_owner(settings, account) for account in settings.accounts]
        kept = owners + [_owner(settings, account) for account in also_stored]
        accounts = [
            Account(
                account.username,
                FittenSession(
                    client,
                    account,
                    TokenFile(config.state_file, owner, others=kept),
                    on_secret=on_secret,
                ),
                Health(failures=rules.breaker_failures, pause=rules.breaker_pause, clock=clock),
                limit=account.max_concurrent or rules.max_concurrent,
                completion_limit=rules.max_completions,
                identity=owner,
            )
            for account, owner in zip(settings.accounts, owners, strict=True)
        ]
        self.pool = LocalPool(
            accounts,
            queue_length=rules.queue_length,
            retry_ratio=rules.retry_ratio,
            queue_wait=rules.queue_wait,
        )
        self.newest_completions = NewestCompletions()
        self._sessions = [account.session for account in accounts]
        self._refresh = BackgroundRefresh(client, self.pool, interval=settings.models_refresh)

    @property
    def tried(self) -> asyncio.Event:
        """Return the event that the models were asked for, or that no login worked at first."""
        return self._refresh.tried

    @asynccontextmanager
    async def maintained(self, found: OnModels) -> AsyncIterator[None]:
        """Log in and read the list of models, repeatedly, until the context is left."""
        await asyncio.gather(*(session.start() for session in self._sessions))
        refresh = asyncio.create_task(self._refresh.run(found))
        try:
            yield
        finally:
            refresh.cancel()
            await asyncio.gather(refresh, return_exceptions=True)
            await asyncio.gather(*(session.close() for session in self._sessions))

    def copy_sessions(self, former: LocalAccountRegistry) -> None:
        """Copy the tokens of the same accounts, so that these need no login.

        Call it before `maintained`.
        """
        sessions = {account.identity: account.session for account in former.pool.accounts}
        for account in self.pool.accounts:
            if account.identity in sessions:
                account.session.copy_state(sessions[account.identity])

    def take_over(self, former: LocalAccountRegistry) -> None:
        """Continue with the pool of the former registry and stop its background refresh."""
        former._refresh.retire()
        self.pool.take_over(former.pool)


def _owner(settings: FittenSettings, account: AccountSettings) -> str:
    """Return what identifies an account: the server and the user name."""
    return f"{settings.base_url} {account.username}"
