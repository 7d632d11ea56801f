"""Defines what is asked of the store of keys: new objects, changes, and who asks.

These are message types of the admin API too. In a change, a field that is absent (UNSET) keeps
its value, and None clears it. Times are milliseconds since 1970 (UTC).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.keys.records import KeyKind, KeyRecord, Role
from gateway.limits.names import LIMIT_NAMES

MOST_TEXT: Final = 1000
"""The most characters of a note or a reason."""

# The same bounds as in the configuration: each request of the last minute is remembered.
Rate = Annotated[int, Meta(ge=0, le=100_000)]
Budget = Annotated[int, Meta(ge=0, le=10**15)]
Name = Annotated[str, Meta(min_length=1, max_length=64)]
Note = Annotated[str, Meta(max_length=MOST_TEXT)]
Allowed = Annotated[list[Annotated[str, Meta(min_length=1, max_length=128)]], Meta(max_length=200)]
Time = Annotated[int, Meta(ge=0, le=10**14)]


class LimitValues(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Sets limits by their names; None for no limit, 0 to admit nothing.

    In a new object, an absent limit is no limit. In a change it keeps its value.
    """

    chats_per_minute: Rate | UnsetType | None = UNSET
    completions_per_minute: Rate | UnsetType | None = UNSET
    listings_per_minute: Rate | UnsetType | None = UNSET
    tokens_per_minute: Budget | UnsetType | None = UNSET
    concurrency: Rate | UnsetType | None = UNSET
    requests_per_day: Budget | UnsetType | None = UNSET
    requests_per_month: Budget | UnsetType | None = UNSET
    tokens_per_5h: Budget | UnsetType | None = UNSET
    tokens_per_day: Budget | UnsetType | None = UNSET
    tokens_per_7d: Budget | UnsetType | None = UNSET
    tokens_per_month: Budget | UnsetType | None = UNSET

    def given(self) -> dict[str, int | None]:
        """Return the limits that are not absent, by their names."""
        values = ((name, getattr(self, name)) for name in LIMIT_NAMES)
        return {name: value for name, value in values if value is not UNSET}


class NewKey(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Describes a key to be made.

    role: of an admin key, which needs one. The next four fields are of other keys only.
    team: the name or the id of a team, also of one of config.yaml.
    models, routes: what is allowed; None for all, empty for none.
    expires_at: a time to come; None for never.
    """

    name: Name
    kind: KeyKind = "api"
    role: Role | None = None
    team: Name | None = None
    models: Allowed | None = None
    routes: Allowed | None = None
    limits: LimitValues = LimitValues()
    note: Note = ""
    expires_at: Time | None = None


class KeyChange(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Describes a change of a key; its fields are those of `NewKey`.

    limits: changes those that it has; None clears all limits.
    """

    name: Name | UnsetType = UNSET
    role: Role | UnsetType = UNSET
    team: Name | UnsetType | None = UNSET
    models: Allowed | UnsetType | None = UNSET
    routes: Allowed | UnsetType | None = UNSET
    limits: LimitValues | UnsetType | None = UNSET
    note: Note | UnsetType | None = UNSET
    expires_at: Time | UnsetType | None = UNSET


class NewTeam(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Describes a team to be made."""

    name: Name
    limits: LimitValues = LimitValues()
    note: Note = ""


class TeamChange(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Describes a change of a team; see `KeyChange`."""

    name: Name | UnsetType = UNSET
    limits: LimitValues | UnsetType | None = UNSET
    note: Note | UnsetType | None = UNSET


GrantedLimit = Literal[
    "requests_per_day", "requests_per_month", "tokens_per_day", "tokens_per_month"
]
"""The limits that a grant can raise: those of a calendar day or month."""


class NewGrant(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Describes a raise of a limit for one period; the key or team must have that limit.

    scope_id: the id of the key or the team.
    period: a local day such as `2026-11-29`, or a month such as `2026-11`, as fits to the
        limit; None for the current one.
    """

    scope: Literal["key", "team"]
    scope_id: Name
    limit: GrantedLimit
    amount: Annotated[int, Meta(ge=1, le=10**15)]
    period: Annotated[str, Meta(max_length=10)] | None = None
    reason: Note = ""


@dataclass(frozen=True, slots=True)
class Actor:
    """Describes who changes something, for the audit.

    name: such as `local:root`, or the name of an admin key.
    address: where the request came from; empty for the command line without a gateway.
    key_id: the id of an admin key that the store has; empty for others.
    """

    name: str
    address: str = ""
    request_id: str = ""
    key_id: str = ""


@dataclass(frozen=True, slots=True)
class ConfigNames:
    """Holds the names in config.yaml, which no change may reach and no new object may have."""

    keys: frozenset[str] = frozenset()
    admin_keys: frozenset[str] = frozenset()
    teams: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """Holds a key that was made or rotated, and the text that its owner needs.

    text: shown this once and never stored; None if the same `Idempotency-Key` was answered
        before, as `already_issued` says.
    """

    record: KeyRecord
    text: str | None = field(repr=False)
    already_issued: bool = False
