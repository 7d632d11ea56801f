"""Finds the keys and teams of config.yaml, which the store must neither change nor use again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.config.settings import Config
from gateway.keys.changes import ConfigNames
from gateway.limits.options import LimitOptions


def config_names(config: Config) -> ConfigNames:
    """Return the names of all keys, admin keys and teams in the settings."""
    return ConfigNames(
        keys=frozenset(item.name for item in config_key_items(config)),
        admin_keys=frozenset(key.name for key in config.admin.keys),
        teams=frozenset(team.name for team in config.teams),
    )


def config_key_items(config: Config) -> Iterator[Any]:
    """Return the items of middlewares' options that are keys with limits, as those of api_key."""
    for entry in config.middlewares:
        for value in entry.options.values():
            for item in value if isinstance(value, (list, tuple)) else ():
                if isinstance(item, LimitOptions) and hasattr(item, "key"):
                    yield item
