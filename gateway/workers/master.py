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
        self._crew = WorkerSupervisor(self._sockets, MasterState(), self._left)
        self._shifts = itertools.count(1)
        self._hours: dict[AccountService, AsyncExitStack] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._office: AccountService | None = None
        self.drain_timeout = 0.0  # seconds that requests may go on after a stop is asked for

    async def start(self) -> str:
        """See `Service`."""
        config = self._config
        if not self._sockets:
            self._sockets += listeners.open_listeners(config.server.host, config.server.port)
        self._check(config)
        self._office = await self._opened(config)
        self.drain_timeout = config.server.drain_timeout
        await self._crew.start(self._office, config)
        return listeners.url_of(self._sockets[0].getsockname())

    async def first_try(self) -> None:
        """See `Service`."""
        if self._office is not None:
            await wait_for_upstream(self._office.keeper.tried)

    async def reload(self, source: ConfigSource) -> None:
        """See `Service`."""
        source.reopen()
        self._crew.reopen()
        started = time.monotonic()
        with refuse_on_failure():
            config = await asyncio.to_thread(source.load)
            self._check(config)
            await self._change(config, source)
        seconds = round(time.monotonic() - started, 3)
        _log.info("reloaded", seconds=seconds, leaving=len(self._hours) - 1)

    async def _change(self, config: Config, source: ConfigSource) -> None:
        """Other settings: everything is made ready, then all workers take them."""
        former = self._office
        assert former is not None
        for secret in config.secrets():
            source.on_secret(secret)
        office = await self._opened(config, former)
        try:
            await wait_for_upstream(office.keeper.tried)
            await self._crew.prepare(office, config)
            try:
                source.adopt(config)
            except BaseException:
                self._crew.forget(office)
                raise
        except BaseException:
            await self._close(office)
            raise
        office.take_over(former)
        self._office, self.drain_timeout = office, config.server.drain_timeout
        await self._crew.serve(office, config)
        self._left(former)  # in case that nobody used it

    async def _opened(self, config: Config, former: AccountService | None = None) -> AccountService:
        office = AccountService(next(self._shifts), config, self._on_secret)
        if former is not None:
            office.learn(former)
        hours = AsyncExitStack()
        await hours.enter_async_context(office.open())
        self._hours[office] = hours
        return office

    async def _close(self, office: AccountService) -> None:
        if hours := self._hours.pop(office, None):
            await hours.aclose()

    def _left(self, office: AccountService) -> None:
        """No worker uses this office: it can close, unless it is the present one."""
        if office is not self._office and office in self._hours and not self._crew.serves(office):
            task = asyncio.create_task(self._close(office))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def stop(self) -> None:
        """See `Service`."""
        _log.info("draining", active=self.requests, timeout=self.drain_timeout)
        listeners.close_listeners(self._sockets)
        await self._crew.stop(self.drain_timeout)

    async def close(self) -> None:
        """See `Service`."""
        self._crew.kill()
        listeners.close_listeners(self._sockets)
        for office in list(self._hours):
            await self._close(office)
        if self._closing:
            await asyncio.wait(self._closing)

    def kill(self) -> None:
        """See `Service`."""
        self._crew.kill()

    @property
    def requests(self) -> int:
        """How many requests the workers are at, as of their last beat."""
        return self._crew.requests

    @property
    def accounts(self) -> tuple[int, int]:
        """How many accounts could serve a request now, and how many there are."""
        return self._office.serving if self._office else (0, 0)

    @property
    def workers(self) -> tuple[int, int]:
        """How many workers take requests, and how many there are to be."""
        return self._crew.serving, self._crew.count

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
