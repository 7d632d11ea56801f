"""Reads of a configuration what commands need that look at a gateway on this machine.

They run as another user than the service, often, without its secrets, and must begin at once. So
nothing else is read or checked, and no middleware is imported.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Annotated, Any

from gateway.config.document import read_document
from gateway.config.store import StoreSettings, state_file
from gateway.config.time_zone import TimeZoneName, system_zone
from gateway.limits.periods import zone_named
from gateway.options import UNSET, ConfigError, Mistakes, read_value


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """Holds where a gateway of this machine keeps what it has, and which names its file has.

    store_file: the database; None for no store. state_file: the file of tokens.
    keys, teams, admin_keys: the names of those in the file, which only the file can change.
    """

    state_file: Path
    store_file: Path | None
    time_zone: tzinfo
    keys: frozenset[str] = frozenset()
    teams: frozenset[str] = frozenset()
    admin_keys: frozenset[str] = frozenset()


def read_local_settings(path: Path, environ: Mapping[str, str] | None = None) -> LocalSettings:
    """Read these settings from a file; secrets are not read.

    Raises ConfigError for a file that cannot be read, and for mistakes in these settings.
    """
    environ = os.environ if environ is None else environ
    document = read_document(path, environ, without_secrets=True)
    data = document.data
    mistakes = Mistakes()
    zone = _value(Annotated[str, TimeZoneName()] | None, data, "server", "time_zone", mistakes)
    state = _value(str | None, data, "fitten", "state_file", mistakes)
    store = read_value(StoreSettings, _section(data, "store"), "store", mistakes)
    # What stands elsewhere is not needed: a variable with a password is not set in this shell.
    ours = ("server.time_zone", "fitten.state_file", "store")
    found = {
        where: what for where, what in document.mistakes.items() if not where or _is_in(where, ours)
    }
    if mistakes or found:
        raise ConfigError(
            [document.place(path, at) + (found | mistakes)[at] for at in found | mistakes]
        )
    file = state_file(state, environ)
    return LocalSettings(
        state_file=file,
        store_file=store.below(path.absolute().parent).file_beside(file),
        time_zone=system_zone() if zone is None else zone_named(zone),
        keys=frozenset(_key_names(data)),
        teams=frozenset(_names(data.get("teams") if isinstance(data, dict) else None)),
        admin_keys=frozenset(_names(_section(data, "admin").get("keys"))),
    )


def _is_in(where: str, places: tuple[str, ...]) -> bool:
    return any(where == place or where.startswith(f"{place}.") for place in places)


def _section(data: Any, name: str) -> dict[str, Any]:
    section = data.get(name) if isinstance(data, dict) else None
    return section if isinstance(section, dict) else {}


def _value(kind: Any, data: Any, section: str, name: str, mistakes: Mistakes) -> Any:
    value = _section(data, section).get(name)
    return (
        None if value in (None, UNSET) else read_value(kind, value, f"{section}.{name}", mistakes)
    )


def _key_names(data: Any) -> Iterator[str]:
    chain = data.get("middlewares") if isinstance(data, dict) else None
    for entry in chain if isinstance(chain, list) else ():
        if isinstance(entry, dict):
            yield from _names(_section(entry, "api_key").get("keys"))


def _names(items: Any) -> Iterator[str]:
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and isinstance(item.get("name"), str):
            yield item["name"]
