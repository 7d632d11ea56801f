"""Implements the master: holds the sockets, runs the workers, reloads and drains them."""

from __future__ import annotations

import asyncio
import itertools
import pickle
import socket
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

import structlog

from gateway.config.settings import Config, ConfigError
from gateway.fitten.account_registry import LocalAccountRegistry
from gateway.server import listeners
from gateway.server.admin_listener import AdminListener
from gateway.server.node_keys import NodeKeys
from gateway.server.node_ledger import NodeLedger
from gateway.server.reload import ConfigSource, log_reload, refuse_on_failure, wait_for_upstream
from gateway.workers.master_node import MasterNode
from gateway.workers.services.accounts import MasterAccounts
from gateway.workers.services.composition import MasterState
from gateway.workers.supervisor import WorkerSupervisor

_log = structlog.get_logger("workers")


class Master:
    """Serves with worker processes; see `Service`.

    sockets: listening sockets to use instead of `server.host` and `server.port`.
    on_secret: called with each token of an account before it is used.
    """

    def __init__(
        self,
        config: Config,
        *,
        sockets: list[socket.socket] | None = None,
        on_secret: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._config = config
        self._sockets = sockets or []
        self._on_secret = on_secret
        self._state = MasterState()
        self._node_ledger = NodeLedger(config)
        self._node_keys = NodeKeys(config)
        self._admin = AdminListener(config)
        self._supervisor = WorkerSupervisor(
            self._sockets, self._state, self._on_drained, self._node_ledger.fault
        )
        self._revisions = itertools.count(1)
        self._lifetimes: dict[MasterAccounts, AsyncExitStack] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._accounts: MasterAccounts | None = None
        self.drain_timeout = 0.0  # seconds that open requests may take after a stop was requested

    async def start(self) -> str:
        """See `Service`."""
        config = self._config
        if not self._sockets:
            self._sockets += listeners.open_listeners(config.server.host, config.server.port)
        self._check(config)
        self._admin.open()
        await self._node_ledger.start(self._state.meter)
        await self._node_keys.load(self._state.keys.directory)
        self._state.configure(config)
        self._accounts = await self._open_accounts(config)
        self.drain_timeout = config.server.drain_timeout
        await self._supervisor.start(self._accounts, config)
        await self._start_admin(config)
        return listeners.url_of(self._sockets[0].getsockname())

    async def wait_for_upstream(self) -> None:
        """See `Service`."""
        if self._accounts is not None:
            await wait_for_upstream(self._accounts.registry.tried)

    async def reload(self, source: ConfigSource) -> None:
        """See `Service`."""
        source.reopen()
        self._supervisor.reopen_logs()
        started = time.monotonic()
        with refuse_on_failure():
            config = await asyncio.to_thread(source.load)
            self._check(config)
            self._node_keys.check(config)
            with self._admin.prepared(config):
                await self._switch_to(config, source)
        former, self._config = self._config, config
        seconds = time.monotonic() - started
        log_reload(former, config, seconds, leaving=len(self._lifetimes) - 1)
        await self._admin.configure(config)

    async def _start_admin(self, config: Config) -> None:
        node = MasterNode(
            self._state,
            self._supervisor,
            self._current,
            self._node_ledger.fault,
            config.store_file,
        )
        await self._admin.start(node, self._node_keys.manager)
        self._node_keys.start(self._state.keys.directory, node.publish)

    def _current(self) -> tuple[Config, LocalAccountRegistry]:
        assert self._accounts is not None
        return self._config, self._accounts.registry

    async def _switch_to(self, config: Config, source: ConfigSource) -> None:
        """Prepare the new settings everywhere, then switch all workers to them."""
        former = self._accounts
        assert former is not None
        for secret in config.secrets():
            source.on_secret(secret)
        accounts = await self._open_accounts(config, former)
        # A worker that is started later writes to the spool that is read here.
        sent = self._node_ledger.with_store(config)
        try:
            await wait_for_upstream(accounts.registry.tried)
            await self._supervisor.prepare(accounts, sent)
            try:
                source.adopt(config)
            except BaseException:
                self._supervisor.drop(accounts)
                raise
        except BaseException:
            await self._close(accounts)
            raise
        accounts.take_over(former)
        self._state.configure(config)
        self._node_ledger.configure(config)
        self._node_keys.configure(config)
        self._accounts, self.drain_timeout = accounts, config.server.drain_timeout
        await self._supervisor.switch_to(accounts, sent)
        self._on_drained(former)  # in case no worker used it

    async def _open_accounts(
        self, config: Config, former: MasterAccounts | None = None
    ) -> MasterAccounts:
        accounts = MasterAccounts(next(self._revisions), config, self._on_secret)
        if former is not None:
            accounts.copy_sessions_and_models(former)
        lifetime = AsyncExitStack()
        await lifetime.enter_async_context(accounts.open())
        self._lifetimes[accounts] = lifetime
        return accounts

    async def _close(self, accounts: MasterAccounts) -> None:
        if lifetime := self._lifetimes.pop(accounts, None):
            await lifetime.aclose()

    def _on_drained(self, accounts: MasterAccounts) -> None:
        """Close accounts that no worker uses any more, unless they are the current ones."""
        if (
            accounts is not self._accounts
            and accounts in self._lifetimes
            and not self._supervisor.uses(accounts)
        ):
            task = asyncio.create_task(self._close(accounts))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def stop(self) -> None:
        """See `Service`."""
        _log.info("draining", active=self.requests, timeout=self.drain_timeout)
        listeners.close_listeners(self._sockets)
        await self._supervisor.stop(self.drain_timeout)
        await self._admin.stop()
        await self._node_keys.stop()
        await self._node_ledger.stop()  # the workers have ended, so that all lines are there

    async def close(self) -> None:
        """See `Service`."""
        self._supervisor.kill()
        listeners.close_listeners(self._sockets)
        await self._admin.stop()
        await self._node_keys.stop()
        for accounts in list(self._lifetimes):
            await self._close(accounts)
        if self._closing:
            await asyncio.wait(self._closing)
        await self._node_ledger.stop()

    def kill(self) -> None:
        """See `Service`."""
        self._supervisor.kill()

    @property
    def admin(self) -> AdminListener:
        """Return the listener of the admin API."""
        return self._admin

    @property
    def requests(self) -> int:
        """Return how many requests are open in all workers, by their last heartbeats."""
        return self._supervisor.requests

    @property
    def accounts(self) -> tuple[int, int]:
        """Return how many accounts could serve a request now, and how many there are."""
        return self._accounts.serving if self._accounts else (0, 0)

    @property
    def workers(self) -> tuple[int, int]:
        """Return how many workers serve, and how many are configured."""
        return self._supervisor.serving, self._supervisor.count

    def _check(self, config: Config) -> None:
        listeners.check_exposure(config, [sock.getsockname() for sock in self._sockets])
        try:
            pickle.dumps(config)
        except Exception as error:  # the pickle code of a middleware's options may raise anything
            raise ConfigError(
                [
                    "server.workers: with more than one, every middleware must be a class or a "
                    f"function that can be imported by its name ({error})"
                ]
            ) from None
