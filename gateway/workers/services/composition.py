"""Puts the services together: their server sides in the master, their client sides in a worker.

A new service adds one line to `WorkerServers` and one to `WorkerClients`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from gateway.config.settings import Config
from gateway.fitten.account_registry import OnModels
from gateway.fitten.client import FittenClient
from gateway.fitten.completion.supersede import CompletionKey
from gateway.ledger.ledger import Ledger
from gateway.limits.expectation import Expectation
from gateway.shared_state import configure_meter, new_meter
from gateway.store.rate_windows import SlidingWindows
from gateway.workers.rpc.peer import RpcPeer
from gateway.workers.services.accounts import AccountsClient, AccountsServer, KnownAccounts
from gateway.workers.services.completions import CompletionsServer, NewestCompletionsClient
from gateway.workers.services.keys import KeyPublisher, KeysClient, KeysServer
from gateway.workers.services.limits import LimitsClient, LimitsServer
from gateway.workers.services.live import LiveAsker, LiveResponder
from gateway.workers.services.rate_windows import RateWindowsClient, RateWindowsServer
from gateway.workers.services.sessions import SessionsClient, SessionsServer
from gateway.workers.services.slots import RemotePool, SlotsClient, SlotsServer


class MasterState:
    """Holds the state that all workers share under every configuration.

    windows: the rate-limit windows. meter: decides about limits.
    newest_completions: see `CompletionsServer`.
    keys: sends the keys that are made at run time to the workers.
    """

    def __init__(self) -> None:
        self.windows = SlidingWindows()
        self.keys = KeyPublisher()
        self.meter = new_meter(self.keys.directory)
        self.newest_completions: dict[CompletionKey, tuple[CompletionsServer, int]] = {}

    def configure(self, config: Config) -> None:
        """Apply the settings, at the start and after a reload."""
        configure_meter(self.meter, config)
        self.keys.directory.configure(config.time_zone)


class WorkerServers:
    """Holds the server side of each service for one worker; the master has one per worker."""

    def __init__(self, rpc: RpcPeer, state: MasterState) -> None:
        self.accounts = AccountsServer(rpc)
        self.slots = SlotsServer(rpc, self.accounts.pools)
        self.sessions = SessionsServer(rpc, self.accounts.pools)
        self.rate_windows = RateWindowsServer(rpc, state.windows)
        self.limits = LimitsServer(rpc, state.meter)
        self.completions = CompletionsServer(rpc, state.newest_completions)
        self.live = LiveAsker(rpc)
        self.keys = KeysServer(rpc, state.keys)


class WorkerClients:
    """Holds the client side of each service; a worker has one."""

    def __init__(self, rpc: RpcPeer) -> None:
        self.accounts = AccountsClient(rpc)
        self.slots = SlotsClient(rpc)
        self.sessions = SessionsClient(rpc)
        self.rate_windows = RateWindowsClient(rpc)
        self.limits = LimitsClient(rpc)
        self.completions = NewestCompletionsClient(rpc)
        self.live = LiveResponder(rpc)
        self.keys = KeysClient(rpc)


class RemoteState:
    """Implements `SharedState` for one revision, by requests to the master.

    ledger, expectation: those of this worker. They outlast a revision.
    """

    def __init__(
        self, clients: WorkerClients, revision: int, ledger: Ledger, expectation: Expectation
    ) -> None:
        self._clients = clients
        self._revision = revision
        self.windows = clients.rate_windows
        self.meter = clients.limits
        self.live = clients.live.requests
        self.ledger = ledger
        self.expectation = expectation
        self.keys = clients.keys.directory

    def configure(self, config: Config) -> None:
        """See `SharedState`; the master applies the rest."""
        self.keys.configure(config.time_zone)
        self.meter.wait = config.limits.queue_wait
        self.ledger.refused = config.ledger.refused

    def accounts(
        self, config: Config, client: FittenClient, on_secret: Callable[[str], None]
    ) -> RemoteAccountRegistry:
        """See `SharedState`."""
        clients = self._clients
        accounts = clients.accounts.known(self._revision)
        sessions = clients.sessions.of_revision(self._revision, on_secret)
        pool = clients.slots.pool(accounts, sessions, config.fitten.pool.retry_ratio)
        return RemoteAccountRegistry(accounts, pool, clients.completions)


class RemoteAccountRegistry:
    """Implements `AccountRegistry` in a worker; the master keeps the accounts."""

    shared = True

    def __init__(
        self,
        accounts: KnownAccounts,
        pool: RemotePool,
        newest_completions: NewestCompletionsClient,
    ) -> None:
        self._accounts = accounts
        self.pool = pool
        # Shared by all revisions, since a file being edited outlasts a reload.
        self.newest_completions = newest_completions
        self.tried = asyncio.Event()
        self.tried.set()  # the master waits for it before it prepares workers for a reload

    @asynccontextmanager
    async def maintained(self, found: OnModels) -> AsyncIterator[None]:
        """Pass on the models of the master, which logs in and reads them."""
        self._accounts.subscribe(found)
        yield
