"""Finds whose key a request has, among all keys, teams and grants of the store.

A process holds the whole table in memory, and another one replaces it as a whole. So a change
holds from the next request on: no key is remembered by itself, known or unknown.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from datetime import UTC, tzinfo
from typing import Final

from gateway.errors import KeyBlocked, KeyExpired, Unauthorized
from gateway.keys.key_text import parse_key_text
from gateway.keys.records import (
    NO_KEYS,
    GrantRecord,
    KeyKind,
    KeyRecord,
    KeyTable,
    SecretRecord,
    TeamRecord,
)
from gateway.limits.periods import Calendar, local_minute
from gateway.principal import Principal
from gateway.redaction import masked_key

SOURCE: Final = "store"
"""The `source` of principals whose keys are made at run time."""

# An unknown key is compared too, so that the time does not tell that it is unknown.
_NOBODYS: Final = (SecretRecord(bytes(32), "", 0),)
_ASK: Final = "Ask those who run this gateway."
_NO_LIMITS: Final[Mapping[str, int]] = {}


class KeyDirectory:
    """Holds the current table of keys. One process has one, whatever is reloaded.

    zone: where days and months of grants begin; see `configure`.
    """

    def __init__(self, zone: tzinfo = UTC) -> None:
        self._calendar = Calendar(zone)
        self._table = NO_KEYS
        self._keys: dict[str, KeyRecord] = {}
        self._teams: dict[str, TeamRecord] = {}
        self._grants_of: dict[tuple[str, str], list[GrantRecord]] = {}
        # Those below are made of the table and the day when they are first asked for. Requests
        # share them: what is kept about a principal is found by the object.
        self._principals: dict[str, Principal] = {}
        self._team_limits: dict[str, Mapping[str, int]] = {}

    @property
    def version(self) -> int:
        """Return the version of the table; 0 before the first one came."""
        return self._table.version

    @property
    def table(self) -> KeyTable:
        """Return the current table."""
        return self._table

    def replace(self, table: KeyTable) -> bool:
        """Use another table from now on, if it is newer. Return whether it was."""
        if table.version <= self._table.version:
            return False
        self._table = table
        self._keys = {key.id: key for key in table.keys}
        self._teams = {team.id: team for team in table.teams}
        self._grants_of = {}
        for grant in table.grants:
            self._grants_of.setdefault((grant.scope, grant.scope_id), []).append(grant)
        self._begin_again()
        return True

    def configure(self, zone: tzinfo) -> None:
        """Use another time zone from now on, after a reload."""
        self._calendar = Calendar(zone)
        self._begin_again()

    def identify(self, text: str, kind: KeyKind, now_ms: int) -> Principal:
        """Return whose key a text is.

        kind: what the key must open. now_ms: the time, in milliseconds since 1970.
        Raises Unauthorized if it is no such key, KeyExpired, and KeyBlocked.
        """
        parsed = parse_key_text(text)
        if parsed is None:
            raise _unknown(text)
        if parsed.kind != kind:
            raise Unauthorized(_OTHER_KIND[kind])
        key = self._keys.get(parsed.id)
        secrets = _NOBODYS if key is None or key.kind != kind else key.secrets
        found = None
        for secret in secrets:
            if hmac.compare_digest(secret.sha256, parsed.sha256):
                found = secret
        if key is None or found is None:
            raise _unknown(text)
        if found.expires_at is not None and now_ms >= found.expires_at:
            raise KeyExpired(
                f"Another API key has replaced this one, which ended at "
                f"{self._shown(found.expires_at)}. Use the new one.",
                key_id=key.id,
            )
        return self.admit(key.id, now_ms)

    def admit(self, key_id: str, now_ms: int) -> Principal:
        """Return the principal of a key, once it is known that the sender has it.

        A browser session of an admin key passes here too. Raises Unauthorized for a key that
        does not exist any more, KeyExpired, and KeyBlocked.
        """
        key = self._keys.get(key_id)
        if key is None:
            raise Unauthorized("This API key does not exist any more.")
        if key.expires_at is not None and now_ms >= key.expires_at:
            raise KeyExpired(
                f"This API key expired at {self._shown(key.expires_at)}. {_ASK}", key_id=key.id
            )
        if key.blocked_at is not None:
            reason = f": {key.blocked_reason}" if key.blocked_reason else ""
            raise KeyBlocked(f"This API key is blocked{reason}. {_ASK}", key_id=key.id)
        if key.team_id is not None:
            team = self._teams.get(key.team_id)
            if team is None and key.team_id not in self._table.config_teams:
                raise KeyBlocked(
                    f"The team of this API key does not exist any more. {_ASK}", key_id=key.id
                )
            if team is not None and team.blocked_at is not None:
                raise KeyBlocked(
                    f"The team of this API key, {team.name}, is blocked. {_ASK}", key_id=key.id
                )
        return self._principal(key, now_ms)

    def key(self, key_id: str) -> KeyRecord | None:
        """Return the record of a key, or None."""
        return self._keys.get(key_id)

    def team(self, team_id: str) -> TeamRecord | None:
        """Return the record of a team that is made at run time, or None."""
        return self._teams.get(team_id)

    def team_name(self, team_id: str) -> str | None:
        """Return the name of a team that a key may be in, also of one of config.yaml, or None."""
        team = self._teams.get(team_id)
        return self._table.config_teams.get(team_id) if team is None else team.name

    def principal(self, key_id: str, now_ms: int) -> Principal | None:
        """Return the principal of a key, blocked or not, or None for one that does not exist."""
        key = self._keys.get(key_id)
        return None if key is None else self._principal(key, now_ms)

    def limits_of_team(self, team_id: str, now_ms: int) -> Mapping[str, int]:
        """Return the limits of a team that is made at run time, with its grants; else none."""
        self._move_to(now_ms)
        known = self._team_limits.get(team_id)
        if known is None:
            team = self._teams.get(team_id)
            if team is None:
                return _NO_LIMITS
            known = self._team_limits[team_id] = _raised(team.limits, self._grants("team", team_id))
        return known

    def _principal(self, key: KeyRecord, now_ms: int) -> Principal:
        """Return the same object until something changes, with the limits of the local day."""
        self._move_to(now_ms)
        known = self._principals.get(key.id)
        if known is None:
            team = "" if key.team_id is None else key.team_id
            grants = self._grants("key", key.id)
            known = self._principals[key.id] = Principal(
                id=key.id,
                name=key.name,
                team=self.team_name(team),
                limits=_raised(key.limits, grants),
                grants={name: grants[name] for name in grants if name not in key.limits},
                models=None if key.models is None else frozenset(key.models),
                routes=None if key.routes is None else frozenset(key.routes),
                source=SOURCE,
                key_id=key.id,
                # Keys of config.yaml count in a team of that file by its name; so do these.
                team_id=team if team in self._teams else "",
            )
        return known

    def named_scope(self, scope: str) -> str:
        """Return a scope of limits with the name of the key or team that it counts by its id."""
        kind, _, scope_id = scope.partition(" ")
        known: KeyRecord | TeamRecord | None = None
        if kind == "key":
            known = self._keys.get(scope_id)
        elif kind == "team":
            known = self._teams.get(scope_id)
        return scope if known is None else f"{kind} {known.name}"

    def _move_to(self, now_ms: int) -> None:
        now, calendar = now_ms / 1000, self._calendar
        if not calendar.begin <= now < calendar.day_end:
            calendar.move_to(now)
            self._begin_again()

    def _begin_again(self) -> None:
        self._principals = {}
        self._team_limits = {}

    def _grants(self, scope: str, scope_id: str) -> dict[str, int]:
        """Return what the grants of today add to each limit of a key or a team."""
        grants = self._grants_of.get((scope, scope_id), ())
        return _sums(grants, {self._calendar.day, self._calendar.month})

    def _shown(self, at_ms: int) -> str:
        zone = self._calendar.zone
        return f"{local_minute(at_ms / 1000, zone)} ({zone})"


_OTHER_KIND: Final[dict[KeyKind, str]] = {
    "api": "This is a key for the admin API, which opens no other. Use an API key here.",
    "admin": "This is an API key, which does not open the admin API. Use an admin key here.",
}


def _unknown(text: str) -> Unauthorized:
    return Unauthorized(f"Incorrect API key provided: {masked_key(text)}.")


def _sums(grants: Iterable[GrantRecord], periods: set[str]) -> dict[str, int]:
    """Return the sums by limit; a day's limit is raised for a day, and a month's for a month."""
    sums: dict[str, int] = {}
    for grant in grants:
        ending = "_per_day" if len(grant.period) == len("2026-11-29") else "_per_month"
        if grant.period in periods and grant.limit.endswith(ending):
            sums[grant.limit] = sums.get(grant.limit, 0) + grant.amount
    return sums


def _raised(limits: Mapping[str, int], grants: Mapping[str, int]) -> dict[str, int]:
    return {name: limit + grants.get(name, 0) for name, limit in limits.items()}
