"""Makes what the admin API shows of keys, teams and grants. No secret and no digest is in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from gateway.admin.config_names import config_key_items
from gateway.keys.directory import KeyDirectory
from gateway.keys.records import GrantRecord, KeyKind, KeyRecord, KeyTable, Role, TeamRecord

if TYPE_CHECKING:  # commands that show the same without a gateway do not import it
    from gateway.config.settings import Config

State = Literal["active", "blocked", "team_blocked", "expired"]
Source = Literal["store", "config"]


class Applied(msgspec.Struct):
    """Says how many processes use a change already, of how many; the rest follow at once."""

    confirmed: int
    of: int


class SecretView(msgspec.Struct):
    """Describes a secret of a key: its last characters, and when it ends."""

    last4: str
    created_at: int
    expires_at: int | None


class TeamReference(msgspec.Struct):
    """Names a team. id: None for a team of config.yaml."""

    id: str | None
    name: str


class KeyView(msgspec.Struct, kw_only=True):
    """Describes a key. Keys of config.yaml have no id, and cannot be changed here.

    applied: of an answer to a change. ended: how many requests a block has ended.
    """

    id: str | None
    kind: KeyKind
    name: str
    source: Source
    state: State
    role: Role | None = None
    team: TeamReference | None = None
    models: list[str] | None = None
    routes: list[str] | None = None
    limits: dict[str, int] = {}
    note: str = ""
    created_at: int | None = None
    created_by: str | None = None
    expires_at: int | None = None
    blocked_at: int | None = None
    blocked_reason: str = ""
    version: int | None = None
    secrets: list[SecretView] = []
    applied: Applied | UnsetType = UNSET
    ended: int | UnsetType = UNSET


class IssuedKeyView(KeyView, kw_only=True):
    """Describes a key that was made or rotated.

    key: the text that its owner needs. It is shown this once, and None in the answer to a
        repeated `Idempotency-Key`.
    """

    key: str | None
    already_issued: bool


class TeamView(msgspec.Struct, kw_only=True):
    """Describes a team. keys: how many keys it has."""

    id: str | None
    name: str
    source: Source
    keys: int
    limits: dict[str, int] = {}
    note: str = ""
    created_at: int | None = None
    blocked_at: int | None = None
    version: int | None = None
    applied: Applied | UnsetType = UNSET


class GrantView(msgspec.Struct, kw_only=True):
    """Describes a raise of a limit for one day or month. name: of the key or team."""

    id: str
    scope: Literal["key", "team"]
    scope_id: str
    name: str
    period: str
    limit: str
    amount: int
    at: int
    by: str
    reason: str
    applied: Applied | UnsetType = UNSET


def view_of_key(record: KeyRecord, directory: KeyDirectory, now: int) -> KeyView:
    """Return what is shown of a key of the store. now: milliseconds since 1970."""
    return KeyView(**_fields_of_key(record, directory, now))


def issued_view(
    record: KeyRecord, directory: KeyDirectory, now: int, text: str | None, *, again: bool
) -> IssuedKeyView:
    """Return what is shown, this once, of a key that was made or rotated."""
    return IssuedKeyView(**_fields_of_key(record, directory, now), key=text, already_issued=again)


def _fields_of_key(record: KeyRecord, directory: KeyDirectory, now: int) -> dict[str, Any]:
    team = None if record.team_id is None else directory.team(record.team_id)
    state: State = "active"
    if record.expires_at is not None and now >= record.expires_at:
        state = "expired"
    elif record.blocked_at is not None:
        state = "blocked"
    elif team is not None and team.blocked_at is not None:
        state = "team_blocked"
    return {
        "id": record.id,
        "kind": record.kind,
        "name": record.name,
        "source": "store",
        "state": state,
        "role": record.role,
        "team": _reference(record.team_id, directory),
        "models": _list(record.models),
        "routes": _list(record.routes),
        "limits": dict(record.limits),
        "note": record.note,
        "created_at": record.created_at,
        "created_by": record.created_by,
        "expires_at": record.expires_at,
        "blocked_at": record.blocked_at,
        "blocked_reason": record.blocked_reason,
        "version": record.version,
        "secrets": [
            SecretView(secret.last4, secret.created_at, secret.expires_at)
            for secret in record.secrets
        ],
    }


def _reference(team_id: str | None, directory: KeyDirectory) -> TeamReference | None:
    name = None if team_id is None else directory.team_name(team_id)
    if team_id is None or name is None:
        return None
    return TeamReference(None if directory.team(team_id) is None else team_id, name)


def config_keys(config: Config, kind: KeyKind) -> Iterator[KeyView]:
    """Return the keys of config.yaml; several keys of one name are one."""
    if kind == "admin":
        for admin in config.admin.keys:
            yield KeyView(
                id=None,
                kind=kind,
                name=admin.name,
                source="config",
                state="active",
                role=admin.role,
            )
        return
    found: dict[str, KeyView] = {}
    for item in config_key_items(config):
        view = found.setdefault(item.name, _config_view(kind, item.name))
        view.limits = view.limits or item.by_name()
        if view.team is None and item.team is not None:
            view.team = TeamReference(None, item.team)
        if view.models is None:  # an empty list allows nothing
            view.models = _list(getattr(item, "models", None))
        if view.routes is None:
            view.routes = _list(getattr(item, "routes", None))
    yield from found.values()


def _config_view(kind: KeyKind, name: str, role: Role | None = None) -> KeyView:
    return KeyView(id=None, kind=kind, name=name, source="config", state="active", role=role)


def view_of_team(record: TeamRecord, directory: KeyDirectory) -> TeamView:
    """Return what is shown of a team of the store."""
    return TeamView(
        id=record.id,
        name=record.name,
        source="store",
        keys=sum(key.team_id == record.id for key in directory.table.keys),
        limits=dict(record.limits),
        note=record.note,
        created_at=record.created_at,
        blocked_at=record.blocked_at,
        version=record.version,
    )


def config_teams(config: Config, table: KeyTable) -> Iterator[TeamView]:
    """Return the teams of config.yaml. table: has the other keys that may be in them."""
    keys = Counter(table.config_teams.get(key.team_id or "") for key in table.keys)
    keys.update(key.team.name for key in config_keys(config, "api") if key.team is not None)
    for team in config.teams:
        limits = team.by_name()
        yield TeamView(
            id=None, name=team.name, source="config", keys=keys[team.name], limits=limits
        )


def view_of_grant(record: GrantRecord, directory: KeyDirectory) -> GrantView:
    """Return what is shown of a grant."""
    owner: KeyRecord | TeamRecord | None
    if record.scope == "key":
        owner = directory.key(record.scope_id)
    else:
        owner = directory.team(record.scope_id)
    return GrantView(
        id=record.id,
        scope=record.scope,
        scope_id=record.scope_id,
        name=record.scope_id if owner is None else owner.name,
        period=record.period,
        limit=record.limit,
        amount=record.amount,
        at=record.at,
        by=record.by,
        reason=record.reason,
    )


def _list(names: Sequence[str] | frozenset[str] | None) -> list[str] | None:
    return None if names is None else sorted(names)
