"""Loads the keys of a node that are made at run time, and holds what changes them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog

from gateway.admin.config_names import config_names, shared_names, teams_not_in_config
from gateway.config.settings import Config, ConfigError
from gateway.errors import GatewayError
from gateway.keys.directory import KeyDirectory
from gateway.keys.records import NO_KEYS, KeyTable

if TYPE_CHECKING:
    from gateway.keys.manager import KeyManager

_log = structlog.get_logger("keys")

_RETRY = 5.0  # seconds between two tries to read the keys of a store that failed


class NodeKeys:
    """Holds the key manager of a configured store, in the single process or in the master.

    Without a store it does nothing, and SQLite is not imported. `store.url` counts at the start
    only.

    manager: changes keys; None without a store.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._directory: KeyDirectory | None = None
        self._retries: asyncio.Task[None] | None = None
        self.manager: KeyManager | None = None

    async def load(self, directory: KeyDirectory) -> None:
        """Read the keys, before the first request comes. If that fails, `start` tries again.

        Raises ConfigError for names that the configuration has, too.
        """
        path = self._config.store_file
        if path is None:
            return
        from gateway.keys.manager import KeyManager

        self._directory = directory
        self.manager = KeyManager(path)
        table = await self._table()
        if table is not None:
            directory.replace(table)
        self.check(self._config)
        self.configure(self._config)

    def start(
        self, directory: KeyDirectory, publish: Callable[[KeyTable], Awaitable[object]]
    ) -> None:
        """Try to read the keys again and again, if `load` could not."""
        if self.manager is not None and not directory.version:
            self._retries = asyncio.create_task(self._retry(publish))

    def check(self, config: Config) -> None:
        """Check settings before they are applied.

        Raises ConfigError if a key or a team of them has the name of one in the store.
        """
        if mistakes := shared_names(config_names(config), self._known):
            raise ConfigError(mistakes)

    def configure(self, config: Config) -> None:
        """Apply settings: the time zone, the names of config.yaml, and how long the audit is."""
        self._config = config
        if self.manager is not None:
            names, days = config_names(config), config.audit.keep_days
            self.manager.configure(config.time_zone, names, audit_days=days)
            self._warn()

    async def stop(self) -> None:
        """Close the store."""
        if self._retries is not None:
            self._retries.cancel()
            await asyncio.gather(self._retries, return_exceptions=True)
            self._retries = None
        if self.manager is not None:
            await asyncio.to_thread(self.manager.close)
            self.manager = None

    @property
    def _known(self) -> KeyTable:
        return NO_KEYS if self._directory is None else self._directory.table

    def _warn(self) -> None:
        for team, keys in teams_not_in_config(config_names(self._config), self._known).items():
            _log.warning("team_not_in_config", team=team, keys=keys)

    async def _table(self) -> KeyTable | None:
        assert self.manager is not None
        try:
            return await asyncio.to_thread(self.manager.table)
        except GatewayError as error:
            _log.error("keys_not_loaded", reason=error.message)
            return None

    async def _retry(self, publish: Callable[[KeyTable], Awaitable[object]]) -> None:
        while True:
            table = await self._table()
            if table is not None:
                await publish(table)
                if mistakes := shared_names(config_names(self._config), table):
                    _log.error("names_shared", mistakes=mistakes)
                self._warn()
                return
            await asyncio.sleep(_RETRY)
