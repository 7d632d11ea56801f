"""Runs the ledger of a node: its writer, and what the counters of limits begin with."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.config.settings import Config, ConfigError, StoreSettings
from gateway.ledger.ledger import Ledger
from gateway.limits.claims import Seed
from gateway.limits.periods import local_day
from gateway.limits.queue import AdmissionQueue

if TYPE_CHECKING:
    from gateway.ledger.seeds import LedgerSeeds, PeriodUse, RecentUse
    from gateway.ledger.service import LedgerPolicy, LedgerService


class NodeLedger:
    """Runs the writer of a configured store, in the single process or in the master.

    Without a store it does nothing, and SQLite is not imported. `store.url` counts at the start
    only.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._path = config.store_file
        self._service: LedgerService | None = None

    async def start(self, meter: AdmissionQueue) -> None:
        """Update the store, tell the meter what was used, and start the writer.

        Raises ConfigError if the store must not be used, such as one of a newer version. One
        that was named must be usable, too. Without the one beside the state file, the gateway
        serves: the log says what is wrong, and the writer tries again.
        """
        path = self._path
        if path is None:
            return
        from gateway.ledger.service import LedgerService
        from gateway.store.database import StoreUnusable

        service = LedgerService(path, _policy(self._config), day_of=self._day_of)
        try:
            required = self._config.store.url is not None
            seeds = await asyncio.to_thread(service.prepare, required=required)
        except StoreUnusable as error:
            raise ConfigError([f"store.url: {error}"]) from None
        # Else what was used today would be taken for another day's.
        meter.meter.configure(zone=self._config.time_zone)
        meter.meter.seed(_seeds(seeds))
        service.start()
        self._service = service

    def fault(self) -> str | None:
        """Return why the database cannot be written now; None if it can, or if there is none."""
        return None if self._service is None else self._service.problem

    def configure(self, config: Config) -> None:
        """Apply what a reload says about the ledger."""
        self._config = config
        if self._service is not None:
            self._service.set_policy(_policy(config))

    def with_store(self, config: Config) -> Config:
        """Return settings with the store of the start, for processes that start later."""
        url = "none" if self._path is None else f"sqlite:///{self._path.absolute()}"
        return replace(config, store=StoreSettings(url))

    async def stop(self) -> None:
        """Write what is left, for a few seconds at most; the rest is written at the next start."""
        if self._service is not None:
            await asyncio.to_thread(self._service.stop)
            self._service = None

    def _day_of(self, at: int) -> str:
        return local_day(at / 1000, self._config.time_zone)


def process_ledger(
    config: Config, process: str, fault: Callable[[], str | None] = lambda: None
) -> Ledger:
    """Return the ledger of one process, which writes to its own spool; empty without a store.

    process: the name of the process in the spool, such as `worker-1`. fault: see `Ledger`.
    """
    path = config.store_file
    if path is None:
        return Ledger()
    from gateway.ledger.spool import Spool
    from gateway.ledger.spool_files import spool_folder

    spool = Spool(spool_folder(path), process)
    return Ledger(spool, file=path, refused=config.ledger.refused, fault=fault)


def _policy(config: Config) -> LedgerPolicy:
    from gateway.ledger.service import LedgerPolicy

    return LedgerPolicy(config.ledger.detail, config.ledger.keep_days)


def _seeds(found: LedgerSeeds) -> Iterable[Seed]:
    """Return the use by scope: a key's over all teams, a team's over all keys, and all of it."""
    periods: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for use in found.periods:
        for scope in _scopes(use):
            sums = periods[scope]
            sums[0] += use.day_requests
            sums[1] += use.day_tokens
            sums[2] += use.month_requests
            sums[3] += use.month_tokens
    five_hours, seven_days = _by_scope(found.five_minutes), _by_scope(found.hours)
    for scope in {*periods, *five_hours, *seven_days}:
        day_requests, day_tokens, month_requests, month_tokens = periods[scope]
        yield Seed(
            scope,
            found.day,
            day_requests,
            day_tokens,
            found.month,
            month_requests,
            month_tokens,
            tuple(five_hours.get(scope, {}).items()),
            tuple(seven_days.get(scope, {}).items()),
        )


def _by_scope(uses: Iterable[RecentUse]) -> dict[str, dict[int, int]]:
    """Return the tokens of each bucket, by its begin in unix seconds, for each scope."""
    found: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for use in uses:
        for scope in _scopes(use):
            found[scope][use.begin // 1000] += use.tokens
    return found


def _scopes(use: PeriodUse | RecentUse) -> list[str]:
    names = [("key", use.key), ("team", use.team)]
    return ["gateway", *(f"{kind} {name}" for kind, name in names if name)]
