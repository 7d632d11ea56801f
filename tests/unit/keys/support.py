"""Makes tables of keys with texts that open them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.keys.key_text import IssuedText, new_key_text
from gateway.keys.records import (
    GrantRecord,
    KeyKind,
    KeyRecord,
    KeyTable,
    SecretRecord,
    TeamRecord,
)

NOON = 1_795_953_600_000  # 2026-11-29 12:00 UTC
DAY_MS = 86_400_000


def key(name: str = "alice", kind: KeyKind = "api", **fields: Any) -> tuple[KeyRecord, str]:
    """Return a key, and the text that opens it."""
    issued = new_key_text(kind)
    record = KeyRecord(
        id=issued.id,
        kind=kind,
        name=name,
        version=1,
        created_at=NOON - DAY_MS,
        created_by="local:root",
        **{"secrets": (secret(issued),)} | fields,
    )
    return record, issued.text


def secret(issued: IssuedText, expires_at: int | None = None) -> SecretRecord:
    """Return the record of a secret."""
    return SecretRecord(issued.sha256, issued.last4, NOON - DAY_MS, expires_at)


def team(name: str = "web", **fields: Any) -> TeamRecord:
    """Return a team, whose id is made of its name."""
    return TeamRecord(
        id=fields.pop("id", name.ljust(12, "a")), name=name, version=1, created_at=NOON, **fields
    )


def grant(of: KeyRecord | TeamRecord, limit: str, amount: int, period: str) -> GrantRecord:
    """Return a grant to a key or a team."""
    return GrantRecord(
        id=new_key_text("api").id,
        scope="key" if isinstance(of, KeyRecord) else "team",
        scope_id=of.id,
        period=period,
        limit=limit,
        amount=amount,
        at=NOON,
        by="local:root",
    )


def table(
    *keys: KeyRecord,
    version: int = 1,
    teams: tuple[TeamRecord, ...] = (),
    grants: tuple[GrantRecord, ...] = (),
    config_teams: Mapping[str, str] | None = None,
) -> KeyTable:
    """Return a table of these keys."""
    return KeyTable(version, keys, teams, grants, config_teams or {})
