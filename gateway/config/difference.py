"""Finds the options in which two configurations differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from gateway.config.settings import Config
from gateway.middleware import MiddlewareEntry

# Sockets are opened once, and one process cannot become a master of workers.
_AT_START = ("server.host", "server.port")


def changed_options(former: Config, current: Config) -> list[str]:
    """Return the paths of all options with another value, in the order of the configuration.

    Only paths, never values: these may be secrets.
    """
    return list(_changed(former, current, ""))


def options_for_restart(former: Config, current: Config) -> list[str]:
    """Return those of the changed options that have no effect before a restart."""
    changed = [path for path in changed_options(former, current) if path in _AT_START]
    if former.store_file != current.store_file:
        changed.append("store.url")  # open requests still write to the former spool
    before, after = former.server.workers, current.server.workers
    if before != after and 1 in (before, after):
        changed.append("server.workers")
    return changed


def _changed(former: Any, current: Any, path: str) -> Iterator[str]:
    """Yield the paths of what differs below two values."""
    if former == current:
        return
    prefix = f"{path}." if path else ""
    if isinstance(former, MiddlewareEntry) and isinstance(current, MiddlewareEntry):
        if (former.name, former.factory) == (current.name, current.factory):
            yield from _changed(former.options, current.options, f"{prefix}{current.name}")
        else:
            yield path
    elif is_dataclass(former) and type(former) is type(current):
        for field in fields(former):
            before, after = getattr(former, field.name), getattr(current, field.name)
            yield from _changed(before, after, f"{prefix}{field.name}")
    elif isinstance(former, (list, tuple)) and isinstance(current, (list, tuple)):
        if len(former) != len(current):
            yield path
            return
        for index, pair in enumerate(zip(former, current, strict=True)):
            yield from _changed(*pair, f"{path}[{index}]")
    elif isinstance(former, dict) and isinstance(current, dict) and former.keys() == current.keys():
        for name in former:
            yield from _changed(former[name], current[name], f"{prefix}{name}")
    else:
        yield path
