"""Reads and writes the records of keys, secrets, teams and grants in the database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec

from gateway.keys.errors import VersionConflict
from gateway.keys.records import (
    GrantRecord,
    KeyKind,
    KeyRecord,
    KeyTable,
    SecretRecord,
    TeamRecord,
)
from gateway.limits.names import LIMIT_NAMES
from gateway.store.ids import new_id

_T = TypeVar("_T")

_TABLE_VERSION: Final = "key_table"
# A reload may set a time zone in which it is yesterday, or even the day before.
_OLDEST_GRANT: Final = timedelta(days=2)

_KEY: Final = (
    *("id", "kind", "name", "version", "created_at", "created_by", "role", "team_id", "note"),
    *("expires_at", "blocked_at", "blocked_reason"),
)
_LISTS: Final = ("models", "routes")
_TEAM: Final = ("id", "name", "version", "created_at", "note", "blocked_at")
_SECRET: Final = ("sha256", "key_id", "last4", "created_at", "expires_at")
_GRANT: Final = (
    *("id", "scope", "scope_id", "period", "limit_name", "amount", "made_at", "made_by"),
    "reason",
)
# A row of another source has the name of a key of config.yaml, for the ledger.
_OURS: Final = "source = 'store' AND deleted_at IS NULL"
_DELETED: Final = "source = 'store' AND deleted_at IS NOT NULL"
_OF_CONFIG: Final = "source = 'config' AND deleted_at IS NULL"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(tuple[str, ...]).decode


def _insert(table: str, columns: Sequence[str]) -> str:
    values = ", ".join(f":{name}" for name in columns)
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})"


def _update(table: str, columns: Sequence[str]) -> str:
    changed = ", ".join(f"{name} = :{name}" for name in columns if name != "id")
    return f"UPDATE {table} SET {changed} WHERE id = :id AND version = :version - 1 AND {_OURS}"


class KeyStore:
    """Holds the SQL of keys, teams and grants.

    connection: of a writer. Whatever changes something runs in a transaction of the caller, as
    `gateway.store.database.transaction` begins it. All methods raise sqlite3.Error.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def table(self, now: int) -> KeyTable:
        """Return every key, team and current grant, as they are in one view of the data."""
        own = not self._connection.in_transaction
        if own:
            self._connection.execute("BEGIN")
        try:
            oldest = datetime.fromtimestamp(now / 1000, UTC) - _OLDEST_GRANT
            return KeyTable(
                self.table_version(),
                self._keys(""),
                self._teams(""),
                self._grants(
                    "WHERE period >= CASE WHEN length(period) = 7 THEN :month ELSE :day END",
                    {"day": f"{oldest:%Y-%m-%d}", "month": f"{oldest:%Y-%m}"},
                ),
                self._used_config_teams(),
            )
        finally:
            if own:
                self._connection.execute("COMMIT")

    def table_version(self) -> int:
        """Return the version of the whole table; 0 before the first change."""
        text = "SELECT value FROM state WHERE name = ?"
        found = self._connection.execute(text, (_TABLE_VERSION,)).fetchone()
        return 0 if found is None else int(found[0])

    def raise_table_version(self) -> None:
        """Add 1 to the version of the whole table."""
        self._connection.execute(
            "INSERT INTO state (name, value) VALUES (?, 1) "
            "ON CONFLICT (name) DO UPDATE SET value = state.value + 1",
            (_TABLE_VERSION,),
        )

    def key(self, key_id: str) -> KeyRecord | None:
        """Return a key that is not deleted, or None."""
        return _first(self._keys(" AND id = :id", {"id": key_id}))

    def key_named(self, name: str, kind: KeyKind) -> KeyRecord | None:
        """Return the key of this kind that has a name and is not deleted, or None."""
        where = " AND kind = :kind AND name = :name"
        return _first(self._keys(where, {"kind": kind, "name": name}))

    def keys_of_team(self, team_id: str) -> tuple[KeyRecord, ...]:
        """Return the keys of a team that are not deleted."""
        return self._keys(" AND team_id = :team", {"team": team_id})

    def deleted_keys(self, name_or_id: str, kind: KeyKind) -> tuple[KeyRecord, ...]:
        """Return the deleted keys of this kind that have a name or an id."""
        where = " AND kind = :kind AND (name = :text OR id = :text)"
        return self._keys(where, {"kind": kind, "text": name_or_id}, which=_DELETED)

    def insert_key(self, record: KeyRecord, by_id: str) -> None:
        """Store a new key and its secrets. by_id: the id of the key that made it, or empty."""
        columns = ("source", "created_by_id", *_KEY, *_LISTS, *LIMIT_NAMES)
        values = _values_of_key(record) | {"created_by_id": by_id}
        self._connection.execute(_insert("key", columns), values)
        for secret in record.secrets:
            self.insert_secret(record.id, secret)

    def update_key(self, record: KeyRecord) -> None:
        """Store a key of which the version is one more; its secrets stay as they are.

        Raises VersionConflict if the stored version is not the one before.
        """
        self._change(_update("key", (*_KEY, *_LISTS, *LIMIT_NAMES)), _values_of_key(record))

    def delete_key(self, key_id: str, now: int) -> None:
        """Mark a key as deleted, and delete its secrets. Its name may be used again."""
        self._connection.execute("UPDATE key SET deleted_at = ? WHERE id = ?", (now, key_id))
        self.delete_secrets(key_id)

    def forget_key(self, record: KeyRecord) -> None:
        """Replace the name of a deleted key by its id, and delete what was written about it.

        That is done in the tables of the ledger too; their other rows have ids only.
        """
        execute = self._connection.execute
        values = {"id": record.id, "name": record.name}
        execute("UPDATE key SET name = id, note = '', blocked_reason = '' WHERE id = :id", values)
        execute("UPDATE key SET created_by = :id WHERE created_by_id = :id", values)
        execute("UPDATE budget_grant SET made_by = :id WHERE made_by_id = :id", values)
        execute(
            "UPDATE budget_grant SET reason = '' WHERE scope = 'key' AND scope_id = :id", values
        )
        if record.kind == "api":
            self._forget_in_ledger(record)

    def _forget_in_ledger(self, record: KeyRecord) -> None:
        execute = self._connection.execute
        execute(
            "INSERT INTO lost (day, key, count) SELECT day, ?, count FROM lost WHERE key = ? "
            "ON CONFLICT (day, key) DO UPDATE SET count = lost.count + excluded.count",
            (record.id, record.name),
        )
        execute("DELETE FROM lost WHERE key = ?", (record.name,))
        self._rename_in_open_requests("key", record.id)

    def _rename_in_open_requests(self, noun: str, new: str) -> None:
        """Write an id in place of the name of a key or team, where its requests are not over."""
        found = self._connection.execute("SELECT id, line FROM began WHERE line <> ''")
        for row_id, line in found.fetchall():
            began = msgspec.json.decode(line)
            if began.get(f"{noun}_id") == new:
                began[noun] = new
                values = (_encode(began).decode(), row_id)
                self._connection.execute("UPDATE began SET line = ? WHERE id = ?", values)

    def insert_secret(self, key_id: str, secret: SecretRecord) -> None:
        """Store another secret of a key."""
        values = {**msgspec.structs.asdict(secret), "key_id": key_id}
        values["sha256"] = secret.sha256.hex()
        self._connection.execute(_insert("key_secret", _SECRET), values)

    def expire_secret(self, sha256: bytes, expires_at: int) -> None:
        """Set when a secret ends."""
        text = "UPDATE key_secret SET expires_at = ? WHERE sha256 = ?"
        self._connection.execute(text, (expires_at, sha256.hex()))

    def delete_secrets(self, key_id: str, keep: Iterable[bytes] = ()) -> None:
        """Delete the secrets of a key, but those with these digests."""
        kept = {digest.hex() for digest in keep}
        found = self._connection.execute(
            "SELECT sha256 FROM key_secret WHERE key_id = ?", (key_id,)
        )
        for (digest,) in found.fetchall():
            if digest not in kept:
                self._connection.execute("DELETE FROM key_secret WHERE sha256 = ?", (digest,))

    def team(self, team_id: str) -> TeamRecord | None:
        """Return a team that is not deleted, or None."""
        return _first(self._teams(" AND id = :id", {"id": team_id}))

    def team_named(self, name: str) -> TeamRecord | None:
        """Return the team that has a name and is not deleted, or None."""
        return _first(self._teams(" AND name = :name", {"name": name}))

    def insert_team(self, record: TeamRecord) -> None:
        """Store a new team."""
        columns = ("source", *_TEAM, *LIMIT_NAMES)
        self._connection.execute(_insert("team", columns), _values_of_team(record))

    def update_team(self, record: TeamRecord) -> None:
        """Store a team of which the version is one more. Raises VersionConflict."""
        self._change(_update("team", (*_TEAM, *LIMIT_NAMES)), _values_of_team(record))

    def delete_team(self, team_id: str, now: int) -> None:
        """Mark a team as deleted. Its name may be used again."""
        self._connection.execute("UPDATE team SET deleted_at = ? WHERE id = ?", (now, team_id))

    def forget_team(self, team_id: str) -> None:
        """Replace the name of a deleted team by its id, and delete what was written about it."""
        text = "UPDATE team SET name = id, note = '' WHERE id = ?"
        self._connection.execute(text, (team_id,))
        text = "UPDATE budget_grant SET reason = '' WHERE scope = 'team' AND scope_id = ?"
        self._connection.execute(text, (team_id,))
        self._rename_in_open_requests("team", team_id)

    def config_team(self, team_id: str) -> str | None:
        """Return the name of a team of config.yaml that has an id here, or None."""
        text = f"SELECT name FROM team WHERE id = ? AND {_OF_CONFIG}"
        found = self._connection.execute(text, (team_id,)).fetchone()
        return None if found is None else str(found[0])

    def config_team_id(self, name: str, now: int) -> str:
        """Return the id of a team of config.yaml, which the ledger uses too; a new one gets one."""
        text = f"SELECT id FROM team WHERE name = ? AND {_OF_CONFIG}"
        found = self._connection.execute(text, (name,)).fetchone()
        if found is None:
            found = (new_id(),)
            columns = ("id", "source", "name", "created_at")
            values = {"id": found[0], "source": "config", "name": name, "created_at": now}
            self._connection.execute(_insert("team", columns), values)
        return str(found[0])

    def _used_config_teams(self) -> dict[str, str]:
        of_keys = f"SELECT team_id FROM key WHERE {_OURS}"
        text = f"SELECT id, name FROM team WHERE {_OF_CONFIG} AND id IN ({of_keys}) ORDER BY name"
        return dict(self._connection.execute(text).fetchall())

    def insert_grant(self, record: GrantRecord, by_id: str) -> None:
        """Store a grant. Nothing changes or deletes it any more. by_id: see `insert_key`."""
        values = msgspec.structs.asdict(record) | {"made_by_id": by_id}
        values |= {"limit_name": record.limit, "made_at": record.at, "made_by": record.by}
        self._connection.execute(_insert("budget_grant", (*_GRANT, "made_by_id")), values)

    def grant(self, grant_id: str) -> GrantRecord | None:
        """Return a grant, or None."""
        return _first(self._grants("WHERE id = :id", {"id": grant_id}))

    def grants_of(self, scope: str, scope_id: str) -> tuple[GrantRecord, ...]:
        """Return all grants to a key or a team, also those of former periods."""
        values = {"scope": scope, "scope_id": scope_id}
        return self._grants("WHERE scope = :scope AND scope_id = :scope_id", values)

    def _change(self, text: str, values: Mapping[str, Any]) -> None:
        if self._connection.execute(text, values).rowcount != 1:
            raise VersionConflict("Somebody else has changed it meanwhile; read it again.")

    def _keys(
        self, where: str, values: Mapping[str, Any] | None = None, *, which: str = _OURS
    ) -> tuple[KeyRecord, ...]:
        columns = (*_KEY, *_LISTS, *LIMIT_NAMES)
        of_keys = f"SELECT id FROM key WHERE {which}{where}"
        secrets: dict[str, list[SecretRecord]] = {}
        for digest, key_id, *rest in self._connection.execute(
            f"SELECT {', '.join(_SECRET)} FROM key_secret WHERE key_id IN ({of_keys}) "
            "ORDER BY expires_at IS NULL, created_at, sha256",
            values or {},
        ).fetchall():
            secrets.setdefault(key_id, []).append(SecretRecord(bytes.fromhex(digest), *rest))
        found = self._connection.execute(
            f"SELECT {', '.join(columns)} FROM key WHERE {which}{where} ORDER BY name, id",
            values or {},
        )
        return tuple(
            _key_of(dict(zip(columns, row, strict=True)), secrets) for row in found.fetchall()
        )

    def _teams(self, where: str, values: Mapping[str, Any] | None = None) -> tuple[TeamRecord, ...]:
        columns = (*_TEAM, *LIMIT_NAMES)
        found = self._connection.execute(
            f"SELECT {', '.join(columns)} FROM team WHERE {_OURS}{where} ORDER BY name, id",
            values or {},
        )
        rows = [dict(zip(columns, row, strict=True)) for row in found.fetchall()]
        return tuple(
            TeamRecord(**{name: row[name] for name in _TEAM}, limits=_limits_of(row))
            for row in rows
        )

    def _grants(self, where: str, values: Mapping[str, Any]) -> tuple[GrantRecord, ...]:
        text = f"SELECT {', '.join(_GRANT)} FROM budget_grant {where} ORDER BY made_at, id"
        names = GrantRecord.__struct_fields__  # in the order of the columns
        found = self._connection.execute(text, values).fetchall()
        return tuple(GrantRecord(**dict(zip(names, row, strict=True))) for row in found)


def _first(records: Sequence[_T]) -> _T | None:
    return records[0] if records else None


def _key_of(row: Mapping[str, Any], secrets: Mapping[str, Sequence[SecretRecord]]) -> KeyRecord:
    fields: dict[str, Any] = {name: row[name] for name in _KEY}
    for name in _LISTS:
        fields[name] = None if row[name] is None else _decode(row[name])
    return KeyRecord(**fields, limits=_limits_of(row), secrets=tuple(secrets.get(row["id"], ())))


def _limits_of(row: Mapping[str, Any]) -> dict[str, int]:
    return {name: row[name] for name in LIMIT_NAMES if row[name] is not None}


def _values_of_key(record: KeyRecord) -> dict[str, Any]:
    values = {name: getattr(record, name) for name in _KEY}
    for name in _LISTS:
        allowed = getattr(record, name)
        values[name] = None if allowed is None else _encode(allowed).decode()
    return values | {name: record.limits.get(name) for name in LIMIT_NAMES} | {"source": "store"}


def _values_of_team(record: TeamRecord) -> dict[str, Any]:
    values = {name: getattr(record, name) for name in _TEAM}
    return values | {name: record.limits.get(name) for name in LIMIT_NAMES} | {"source": "store"}
