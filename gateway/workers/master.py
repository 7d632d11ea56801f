"""The parent's life: it holds the sockets, has workers serve, reloads and drains on signals."""

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
from gateway.server import listeners
from gateway.server.reload import ConfigSource, refuse_on_failure, wait_for_upstream
from gateway.workers.rpc.server import MasterState
from gateway.workers.services.accounts import AccountService
from gateway.workers.supervisor import WorkerSupervisor

_log = structlog.get_logger("workers")


class Master:
    """Has workers serve, under one configuration after the other; see `Service`.

    sockets: that they listen on instead of the configured address. on_secret: told every token.
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
        self._supervisor = WorkerSupervisor(self._sockets, MasterState(), self._on_left)
        self._revisions = itertools.count(1)
        self._lifetimes: dict[AccountService, AsyncExitStack] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._accounts: AccountService | None = None
        self.drain_timeout = 0.0  # seconds that requests may go on after a stop is asked for

    async def start(self) -> str:
        """See `Service`."""
        config = self._config
        if not self._sockets:
            self._sockets += listeners.open_listeners(config.server.host, config.server.port)
        self._check(config)
        self._accounts = await self._opened(config)
        self.drain_timeout = config.server.drain_timeout
        await self._supervisor.start(self._accounts, config)
        return listeners.url_of(self._sockets[0].getsockname())

    async def wait_for_upstream(self) -> None:
        """See `Service`."""
        if self._accounts is not None:
            await wait_for_upstream(self._accounts.registry.tried)

    async def reload(self, source: ConfigSource) -> None:
        """See `Service`."""
        source.reopen()
        self._supervisor.reopen()
        started = time.monotonic()
        with refuse_on_failure():
            config = await asyncio.to_thread(source.load)
            self._check(config)
            await self._change(config, source)
        seconds = round(time.monotonic() - started, 3)
        _log.info("reloaded", seconds=seconds, leaving=len(self._lifetimes) - 1)

    async def _change(self, config: Config, source: ConfigSource) -> None:
        """Other settings: everything is made ready, then all workers take them."""
        former = self._accounts
        assert former is not None
        for secret in config.secrets():
            source.on_secret(secret)
        accounts = await self._opened(config, former)
        try:
            await wait_for_upstream(accounts.registry.tried)
            await self._supervisor.prepare(accounts, config)
            try:
                source.adopt(config)
            except BaseException:
                self._supervisor.forget(accounts)
                raise
        except BaseException:
            await self._close(accounts)
            raise
        accounts.take_over(former)
        self._accounts, self.drain_timeout = accounts, config.server.drain_timeout
        await self._supervisor.serve(accounts, config)
        self._on_left(former)  # in case that nobody used it

    async def _opened(self, config: Config, former: AccountService | None = None) -> AccountService:
        accounts = AccountService(next(self._revisions), config, self._on_secret)
        if former is not None:
            accounts.learn(former)
        lifetime = AsyncExitStack()
        await lifetime.enter_async_context(accounts.open())
        self._lifetimes[accounts] = lifetime
        return accounts

    async def _close(self, accounts: AccountService) -> None:
        if lifetime := self._lifetimes.pop(accounts, None):
            await lifetime.aclose()

    def _on_left(self, accounts: AccountService) -> None:
        """No worker uses this office: it can close, unless it is the present one."""
        if (
            accounts is not self._accounts
            and accounts in self._lifetimes
            and not self._supervisor.serves(accounts)
        ):
            task = asyncio.create_task(self._close(accounts))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def stop(self) -> None:
        """See `Service`."""
        _log.info("draining", active=self.requests, timeout=self.drain_timeout)
        listeners.close_listeners(self._sockets)
        await self._supervisor.stop(self.drain_timeout)

    async def close(self) -> None:
        """See `Service`."""
        self._supervisor.kill()
        listeners.close_listeners(self._sockets)
        for accounts in list(self._lifetimes):
            await self._close(accounts)
        if self._closing:
            await asyncio.wait(self._closing)

    def kill(self) -> None:
        """See `Service`."""
        self._supervisor.kill()

    @property
    def requests(self) -> int:
        """How many requests the workers are at, as of their last beat."""
        return self._supervisor.requests

    @property
    def accounts(self) -> tuple[int, int]:
        """How many accounts could serve a request now, and how many there are."""
        return self._accounts.serving if self._accounts else (0, 0)

    @property
    def workers(self) -> tuple[int, int]:
        """How many workers take requests, and how many there are to be."""
        return self._supervisor.serving, self._supervisor.count

    def _check(self, config: Config) -> None:
        listeners.check_exposure(config, [sock.getsockname() for sock in self._sockets])
        try:
            pickle.dumps(config)
        except Exception as error:  # steps of others are in it
            raise ConfigError(
                [
                    "server.workers: with more than one, every middleware must be a class or a "
                    f"function that can be imported by its name ({error})"
                ]
            ) from None
