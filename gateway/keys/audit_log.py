"""Keeps who changed what, in rows that are only added."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from gateway.keys.changes import Actor
from gateway.keys.errors import InvalidValue
from gateway.keys.records import KeyRecord, TeamRecord

Changed = Mapping[str, tuple[Any, Any]]
"""The values of each field before and after a change, by the field's name."""

MOST_ROWS: Final = 500
"""The most rows of a page."""

_DELETED_AT_ONCE: Final = 100
_COLUMNS: Final = (
    *("id", "at", "actor", "actor_id", "action", "object", "object_id", "object_name"),
    *("change", "request_id", "address"),
)
# A secret is never in a row. What changes with every change says nothing.
_NOT_SHOWN: Final = ("id", "kind", "version", "created_at", "created_by", "secrets")
_ABOUT_PEOPLE: Final = ("note", "blocked_reason", "reason")

_encode = msgspec.json.Encoder().encode


class AuditRecord(msgspec.Struct, frozen=True, eq=False):
    """Describes one change.

    at: in milliseconds since 1970. actor, address, request_id: see `Actor`; `actor_id` is its
        `key_id`.
    action: such as `key.rotate`. object: what kind of thing was changed, such as `key`.
    change: values before and after, by field; never a secret.
    """

    id: int
    at: int
    actor: str
    actor_id: str
    action: str
    object: str
    object_id: str
    object_name: str
    change: dict[str, tuple[Any, Any]]
    request_id: str
    address: str


class AuditPage(msgspec.Struct, frozen=True, eq=False):
    """Holds some rows, the newest first. cursor: for the rows after them; None at the end."""

    rows: list[AuditRecord]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Chooses rows; None chooses all.

    since, until: milliseconds since 1970, the first included.
    action: one such as `key.rotate`. object_id: of a key or a team.
    limit: the most rows of a page, up to `MOST_ROWS`.
    """

    since: int | None = None
    until: int | None = None
    actor: str | None = None
    action: str | None = None
    object_id: str | None = None
    limit: int = 100


class AuditLog:
    """Appends rows and reads them. The caller holds the transaction. Raises sqlite3.Error."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def append(
        self,
        actor: Actor,
        at: int,
        action: str,
        object_id: str,
        object_name: str,
        change: Changed | None = None,
    ) -> None:
        """Add a row. action: the kind of the object, a dot, and what was done with it."""
        values = (
            *(at, actor.name, actor.key_id, action, action.partition(".")[0], object_id),
            *(object_name, _encode(change or {}).decode(), actor.request_id, actor.address),
        )
        self._connection.execute(
            f"INSERT INTO audit ({', '.join(_COLUMNS)}) "
            "SELECT coalesce(max(id), 0) + 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM audit",
            values,
        )

    def page(self, where: AuditFilter, cursor: str | None = None) -> AuditPage:
        """Return the rows after a cursor. Raises InvalidValue for a cursor of somewhere else."""
        conditions: list[str] = []
        values: dict[str, Any] = {}
        for condition, name in _CONDITIONS.items():
            value = getattr(where, name)
            if value is not None:
                conditions.append(condition)
                values[name] = value
        if cursor is not None:
            conditions.append("id < :cursor")
            values["cursor"] = _row_of(cursor)
        chosen = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        limit = max(1, min(where.limit, MOST_ROWS))
        found = self._connection.execute(
            f"SELECT {', '.join(_COLUMNS)} FROM audit{chosen} ORDER BY id DESC LIMIT :limit",
            values | {"limit": limit + 1},
        ).fetchall()
        rows = [_record_of(row) for row in found[:limit]]
        return AuditPage(rows, str(rows[-1].id) if len(found) > limit else None)

    def forget(self, object_id: str) -> None:
        """Replace the names of a key or team by its id, and delete what people wrote about it."""
        execute = self._connection.execute
        execute("UPDATE audit SET actor = actor_id WHERE actor_id = ?", (object_id,))
        found = execute("SELECT id, change FROM audit WHERE object_id = ?", (object_id,))
        for row_id, change in found.fetchall():
            fields: dict[str, list[Any]] = msgspec.json.decode(change)
            for name, values in fields.items():
                if name == "name":
                    fields[name] = [object_id if value else value for value in values]
                elif name in _ABOUT_PEOPLE:
                    fields[name] = ["" if value else value for value in values]
            execute(
                "UPDATE audit SET object_name = ?, change = ? WHERE id = ?",
                (object_id, _encode(fields).decode(), row_id),
            )

    def delete_old(self, before: int) -> None:
        """Delete some of the rows that are older than a time, the oldest first."""
        self._connection.execute(
            "DELETE FROM audit WHERE id IN "
            f"(SELECT id FROM audit WHERE at < ? ORDER BY at LIMIT {_DELETED_AT_ONCE})",
            (before,),
        )


_CONDITIONS: Final = {
    "at >= :since": "since",
    "at < :until": "until",
    "actor = :actor": "actor",
    "action = :action": "action",
    "object_id = :object_id": "object_id",
}


def changed_fields(
    before: KeyRecord | TeamRecord | None, after: KeyRecord | TeamRecord
) -> dict[str, tuple[Any, Any]]:
    """Return the fields in which two records differ; without a former one, those that are set."""
    former = {} if before is None else _fields_of(before)
    fields = _fields_of(after)
    return {
        name: (former.get(name), fields.get(name))
        for name in {**former, **fields}
        if former.get(name) != fields.get(name)
    }


def _fields_of(record: KeyRecord | TeamRecord) -> dict[str, Any]:
    fields = {
        name: value
        for name, value in msgspec.structs.asdict(record).items()
        if name not in (*_NOT_SHOWN, "limits") and value is not None and value != ""
    }
    return fields | {f"limits.{name}": value for name, value in record.limits.items()}


def _record_of(row: tuple[Any, ...]) -> AuditRecord:
    fields = dict(zip(_COLUMNS, row, strict=True))
    return AuditRecord(**fields | {"change": _decode_change(fields["change"])})


_decode_change = msgspec.json.Decoder(dict[str, tuple[Any, Any]]).decode


def _row_of(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 19):
        raise InvalidValue("The cursor is not one that this list gave.", param="cursor")
    return int(cursor)
