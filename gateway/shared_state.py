"""What there is once for the whole gateway, however many applications or processes serve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway.config.settings import Config
from gateway.fitten.account_registry import AccountRegistry, LocalAccountRegistry
from gateway.fitten.client import FittenClient
from gateway.store.rate_windows import RateWindows, SlidingWindows


class SharedState(Protocol):
    """The windows in which callers' requests are counted, and the accounts."""

    @property
    def windows(self) -> RateWindows: ...

    def accounts(
        self, config: Config, client: FittenClient, on_secret: Callable[[str], None]
    ) -> AccountRegistry:
        """The accounts of these settings, for one application."""
        ...


class LocalState:
    """Everything is in this process."""

    def __init__(self) -> None:
        self.windows = SlidingWindows()

    def accounts(
        self, config: Config, client: FittenClient, on_secret: Callable[[str], None]
    ) -> LocalAccountRegistry:
        """The accounts, kept here."""
        return LocalAccountRegistry(config, client, on_secret)
