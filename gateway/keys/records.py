"""Defines the records of keys, teams and grants, as the store has them.

Times are milliseconds since 1970 (UTC). No record holds a secret: only digests of secrets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

KeyKind = Literal["api", "admin"]
"""What a key opens: the APIs that clients use, or the admin API. Neither opens the other."""

Role = Literal["admin", "viewer", "metrics"]
"""What an admin key may do: everything, read sums, or read metrics only."""


class SecretRecord(msgspec.Struct, frozen=True, eq=False):
    """Describes one secret of a key; a key has two while it is rotated.

    sha256: the digest of the whole text that the client sends. last4: its last characters.
    expires_at: when it ends, since another one has replaced it; None while it has no end.
    """

    sha256: bytes
    last4: str
    created_at: int
    expires_at: int | None = None


class KeyRecord(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """Describes a key.

    id: 12 characters of a to z and 2 to 7; it never changes, and stands in the key's text.
    name: unique among the keys of its kind that are not deleted.
    version: grows with each change, so that two admins notice each other.
    created_by: who made it, such as `local:root` or the name of an admin key.
    role: of an admin key.
    team_id: the team that it is in, one of the store or of config.yaml; None for no team.
    models, routes: what is allowed; None for all, empty for none.
    limits: numbers by the names of `gateway.limits.names.LIMIT_NAMES`; 0 admits nothing.
    expires_at, blocked_at: None for never.
    """

    id: str
    kind: KeyKind
    name: str
    version: int
    created_at: int
    created_by: str
    role: Role | None = None
    team_id: str | None = None
    models: tuple[str, ...] | None = None
    routes: tuple[str, ...] | None = None
    limits: Mapping[str, int] = {}
    note: str = ""
    expires_at: int | None = None
    blocked_at: int | None = None
    blocked_reason: str = ""
    secrets: tuple[SecretRecord, ...] = ()


class TeamRecord(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """Describes a team; its members are as those of `KeyRecord`."""

    id: str
    name: str
    version: int
    created_at: int
    limits: Mapping[str, int] = {}
    note: str = ""
    blocked_at: int | None = None


class GrantRecord(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """Describes a raise of one budget for one period; it is never changed or deleted.

    scope: `key` or `team`. scope_id: the id of it.
    period: a local day such as `2026-11-29`, or a month such as `2026-11`.
    limit: the name of the budget, of a day or of a month.
    amount: what is added to the limit for this period.
    """

    id: str
    scope: Literal["key", "team"]
    scope_id: str
    period: str
    limit: str
    amount: int
    at: int
    by: str
    reason: str = ""


class KeyTable(msgspec.Struct, frozen=True, eq=False):
    """Holds every key, team and current grant at one moment; it is replaced as a whole.

    version: grows with each change of the store.
    keys, teams: those that are not deleted. grants: of the current and later periods.
    config_teams: the names by id of teams of config.yaml that some of these keys are in. One may
        be gone from that file.
    """

    version: int
    keys: tuple[KeyRecord, ...] = ()
    teams: tuple[TeamRecord, ...] = ()
    grants: tuple[GrantRecord, ...] = ()
    config_teams: Mapping[str, str] = {}


NO_KEYS = KeyTable(0)
