"""Finds the keys and teams of config.yaml, which the store must neither change nor use again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from gateway.keys.changes import ConfigNames
from gateway.keys.records import KeyRecord, KeyTable, TeamRecord
from gateway.limits.options import LimitOptions
from gateway.redaction import word

if TYPE_CHECKING:  # commands that work without a gateway do not import what serves
    from gateway.config.settings import Config


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


def shared_names(names: ConfigNames, table: KeyTable) -> list[str]:
    """Return the mistakes in a configuration that has names of keys and teams of the store.

    A name in the log or the audit would not tell which of the two it is.
    """
    api, admin = (
        [key for key in table.keys if key.kind == kind and key.name in in_config]
        for kind, in_config in (("api", names.keys), ("admin", names.admin_keys))
    )
    teams = [team for team in table.teams if team.name in names.teams]
    return [
        *_mistakes("api_key.keys", "a key", "keys", api),
        *_mistakes("admin.keys", "an admin key", "admin-keys", admin),
        *_mistakes("teams", "a team", "teams", teams),
    ]


def teams_not_in_config(names: ConfigNames, table: KeyTable) -> Mapping[str, int]:
    """Return teams that are gone from the configuration, with how many keys are still in each."""
    gone = {key: name for key, name in table.config_teams.items() if name not in names.teams}
    return Counter(gone[key.team_id] for key in table.keys if key.team_id in gone)


def _mistakes(
    option: str, noun: str, command: str, records: Iterable[KeyRecord | TeamRecord]
) -> Iterator[str]:
    for record in records:
        yield (
            f"{option}: the name '{word(record.name)}' is also that of {noun} made at run time, "
            f"with the id {record.id}; take it out of the configuration, or give the other one "
            f"another name: fitten-gateway {command} set {record.id} --name NAME"
        )
