"""Describes the state that the whole gateway shares, and keeps it for a single process."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC
from functools import partial
from typing import Protocol

import structlog

from gateway.admission.live import LiveRequests
from gateway.config.settings import Config
from gateway.fitten.account_registry import AccountRegistry, LocalAccountRegistry
from gateway.fitten.client import FittenClient
from gateway.keys.directory import KeyDirectory
from gateway.ledger.ledger import Ledger
from gateway.limits.alarms import BudgetReached
from gateway.limits.expectation import Expectation
from gateway.limits.meter import LocalMeter, Meter
from gateway.limits.queue import AdmissionQueue
from gateway.store.rate_windows import RateWindows, SlidingWindows

_log = structlog.get_logger("limits")


class SharedState(Protocol):
    """Describes the state that exists once, with any number of applications or processes.

    windows: counts the callers' requests for other middlewares.
    meter: decides about limits. ledger: is told of each request.
    live: the open requests of this process.
    expectation: learns how long answers are; each process has its own.
    keys: knows the keys that are made at run time.
    """

    @property
    def windows(self) -> RateWindows: ...

    @property
    def meter(self) -> Meter: ...

    @property
    def ledger(self) -> Ledger: ...

    @property
    def live(self) -> LiveRequests: ...

    @property
    def keys(self) -> KeyDirectory: ...

    @property
    def expectation(self) -> Expectation: ...

    def configure(self, config: Config) -> None:
        """Apply the settings of limits, ledger and keys, at the start and after a reload."""
        ...

    def accounts(
        self, config: Config, client: FittenClient, on_secret: Callable[[str], None]
    ) -> AccountRegistry:
        """Return the accounts of these settings, for one application."""
        ...


class LocalState:
    """Keeps the shared state in this process.

    ledger: of this process; without it, no request is recorded.
    """

    def __init__(self, ledger: Ledger | None = None) -> None:
        self.windows = SlidingWindows()
        self.live = LiveRequests()
        self.keys = KeyDirectory()
        self.meter = new_meter(self.keys)
        self.ledger = ledger or Ledger()
        self.expectation = Expectation()

    def configure(self, config: Config) -> None:
        """See `SharedState`."""
        configure_meter(self.meter, config)
        self.keys.configure(config.time_zone)
        self.ledger.refused = config.ledger.refused

    def accounts(
        self, config: Config, client: FittenClient, on_secret: Callable[[str], None]
    ) -> LocalAccountRegistry:
        """Build the accounts of these settings in this process."""
        return LocalAccountRegistry(config, client, on_secret)


def new_meter(keys: KeyDirectory) -> AdmissionQueue:
    """Return a meter that has counted nothing yet; `configure_meter` must follow.

    keys: tells the names of those that the meter counts by ids, for the log.
    """
    meter = LocalMeter(time.monotonic, time.time, UTC, on_budget=partial(log_budget, keys))
    return AdmissionQueue(meter, 0.0)


def log_budget(keys: KeyDirectory, reached: BudgetReached) -> None:
    """Log that a share of a budget is used."""
    _log.warning(
        "budget_reached",
        scope=keys.named_scope(reached.scope),
        limit=reached.limit,
        percent=reached.percent,
        used=reached.used,
        maximum=reached.maximum,
        resets_in=round(reached.resets, 1),
    )


def configure_meter(meter: AdmissionQueue, config: Config) -> None:
    """Apply the settings: the time zone, the wait in line, how many addresses are remembered."""
    callers = [entry.options.get("max_callers", 0) for entry in config.middlewares]
    meter.meter.configure(zone=config.time_zone, max_callers=max(callers, default=0) or None)
    meter.wait = config.limits.queue_wait
