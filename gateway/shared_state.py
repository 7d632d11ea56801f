"""Describes the state that the whole gateway shares, and keeps it for a single process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway.config.settings import Config
from gateway.fitten.account_registry import AccountRegistry, LocalAccountRegistry
from gateway.fitten.client import FittenClient
from gateway.store.rate_windows import RateWindows, SlidingWindows


class SharedState(Protocol):
    """Describes the state that exists once, with any number of applications or processes.

    windows: counts the callers' requests.
    """

    @property
    def windows(self) -> RateWindows: ...

    def accounts(
        self, config: Config, client: FittenClient, on_secret: Callable[[str], None]
    ) -> AccountRegistry:
        """Return the accounts of these settings, for one application."""
        ...


class LocalState:
    """Keeps the shared state in this process."""

    def __init__(self) -> None:
        self.windows = SlidingWindows()

    def accounts(
        self, config: Config, client: FittenClient, on_secret: Callable[[str], None]
    ) -> LocalAccountRegistry:
        """Build the accounts of these settings in this process."""
        return LocalAccountRegistry(config, client, on_secret)
