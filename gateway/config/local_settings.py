"""Reads of a configuration what commands need that look at a gateway on this machine.

They run as another user than the service, often, without its secrets, and must begin at once. So
nothing else is read or checked, and no middleware is imported.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from pathlib import Path
from typing import Annotated, Any

from gateway.config.document import read_document
from gateway.config.store import AuditSettings, StoreSettings, state_file
from gateway.config.time_zone import TimeZoneName, system_zone
from gateway.limits.names import LIMIT_NAMES
from gateway.limits.periods import zone_named
from gateway.options import UNSET, Amount, ConfigError, Mistakes, read_value

_LIMIT = Amount(10**15)


@dataclass(frozen=True, slots=True)
class ConfiguredName:
    """Describes a key, a team or an admin key of the file, as far as it shows without its secret.

    limits: by the names of `LIMIT_NAMES`. models, routes: what is allowed; None for all.
    role: of an admin key.
    """

    name: str
    team: str | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    models: tuple[str, ...] | None = None
    routes: tuple[str, ...] | None = None
    role: str = "admin"


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """Holds where a gateway of this machine keeps what it has, and which names its file has.

    state_file: the file of tokens. store_file: the database; None for no store.
    audit_days: how long rows of the audit are kept.
    sockets: where the UNIX socket of the admin API may be, the likeliest first.
    keys, teams, admin_keys: those in the file, which only the file can change. A name that
        several keys have is there once.
    """

    state_file: Path
    store_file: Path | None
    time_zone: tzinfo
    sockets: tuple[Path, ...]
    audit_days: int
    keys: tuple[ConfiguredName, ...] = ()
    teams: tuple[ConfiguredName, ...] = ()
    admin_keys: tuple[ConfiguredName, ...] = ()


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
    named_socket = _value(str | None, data, "admin", "socket", mistakes)
    store = read_value(StoreSettings, _section(data, "store"), "store", mistakes)
    audit = read_value(AuditSettings, _section(data, "audit"), "audit", mistakes)
    # What stands elsewhere is not needed: a variable with a password is not set in this shell.
    ours = ("server.time_zone", "fitten.state_file", "store", "audit", "admin.socket")
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
        audit_days=audit.keep_days,
        sockets=tuple(_sockets(named_socket, file, environ)),
        keys=_names(_keys(data)),
        teams=_names(data.get("teams") if isinstance(data, dict) else None),
        admin_keys=_names(_section(data, "admin").get("keys")),
    )


def _sockets(named: str | None, state: Path, environ: Mapping[str, str]) -> Iterator[Path]:
    """Return where the socket may be: a shell has not the variables that the service has."""
    if named:
        yield Path(named)
        return
    folder = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if folder:
        yield Path(folder) / "admin.sock"
    yield state.with_name("admin.sock")


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


def _keys(data: Any) -> list[Any]:
    """Return the items of api_key."""
    chain = data.get("middlewares") if isinstance(data, dict) else None
    found: list[Any] = []
    for entry in chain if isinstance(chain, list) else ():
        keys = _section(entry, "api_key").get("keys")
        found += keys if isinstance(keys, list) else ()
    return found


def _names(items: Any) -> tuple[ConfiguredName, ...]:
    """Return what a list names; of several items with one name, the first that has a value."""
    found: dict[str, ConfiguredName] = {}
    for item in items if isinstance(items, list) else ():
        name = item.get("name") if isinstance(item, dict) else None
        if isinstance(name, str):
            one, known = _configured(name, item), found.get(name)
            found[name] = one if known is None else _joined(known, one)
    return tuple(found.values())


def _configured(name: str, item: dict[str, Any]) -> ConfiguredName:
    team, role = item.get("team"), item.get("role")
    return ConfiguredName(
        name,
        team=team if isinstance(team, str) else None,
        limits={limit: value for limit in LIMIT_NAMES if (value := _amount(item.get(limit))) >= 0},
        models=_texts(item.get("models")),
        routes=_texts(item.get("routes")),
        role=role if isinstance(role, str) else "admin",
    )


def _joined(one: ConfiguredName, other: ConfiguredName) -> ConfiguredName:
    return replace(
        one,
        team=one.team or other.team,
        limits=one.limits or other.limits,
        # An empty list allows nothing.
        models=other.models if one.models is None else one.models,
        routes=other.routes if one.routes is None else one.routes,
    )


def _amount(value: Any) -> int:
    """Return the number of a limit; -1 for none."""
    number = _LIMIT.convert(value)
    return number if isinstance(number, int) and not isinstance(number, bool) else -1


def _texts(value: Any) -> tuple[str, ...] | None:
    if not isinstance(value, list):
        return None
    return tuple(sorted(text for text in value if isinstance(text, str)))
