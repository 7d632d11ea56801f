"""Opens the database of keys, and holds the one transaction in which something changes."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from gateway.keys.audit_log import AuditLog, Changed, changed_fields
from gateway.keys.changes import Actor
from gateway.keys.errors import InvalidValue, StoreUnavailable, UnknownObject, managed_by_config
from gateway.keys.key_store import KeyStore
from gateway.keys.operations import OperationLog
from gateway.keys.records import KeyKind, KeyRecord, TeamRecord
from gateway.keys.sessions import SessionStore
from gateway.store.database import StoreUnusable, connect_writer, transaction
from gateway.store.migrations import migrate

_Record = TypeVar("_Record", KeyRecord, TeamRecord)

OBJECTS: Final[dict[KeyKind, str]] = {"api": "key", "admin": "admin_key"}
"""What the audit calls a key of each kind."""

_DAY_MS: Final = 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class Tables:
    """Holds the tables of one connection, and the time of what is done now."""

    keys: KeyStore
    audit: AuditLog
    sessions: SessionStore
    operations: OperationLog
    now: int

    def key(self, key_id: str) -> KeyRecord:
        """Return a key that is not deleted. Raises UnknownObject."""
        found = self.keys.key(key_id)
        if found is None:
            raise UnknownObject("There is no key of this name or id.")
        return found

    def team(self, team_id: str) -> TeamRecord:
        """Return a team that is not deleted, to change it.

        Raises UnknownObject, and ChangeConflict for a team of config.yaml.
        """
        found = self.keys.team(team_id)
        if found is None:
            name = self.keys.config_team(team_id)
            if name is not None:
                raise managed_by_config(f"Team '{name}'")
            raise UnknownObject("There is no team of this name or id.")
        return found

    def record(
        self,
        actor: Actor,
        action: str,
        record: KeyRecord | TeamRecord,
        change: Changed | None = None,
    ) -> None:
        """Add a row about a key or a team to the audit. action: such as `rotate`."""
        noun = OBJECTS[record.kind] if isinstance(record, KeyRecord) else "team"
        self.audit.append(actor, self.now, f"{noun}.{action}", record.id, record.name, change)

    def update(self, actor: Actor, action: str, before: _Record, after: _Record) -> _Record:
        """Store a changed record with a row of the audit; if nothing differs, do neither.

        Raises VersionConflict.
        """
        change = changed_fields(before, after)
        if not change:
            return before
        if isinstance(after, KeyRecord):
            self.keys.update_key(after)
        else:
            self.keys.update_team(after)
        self.record(actor, action, after, change)
        return after

    def block_key(self, actor: Actor, before: KeyRecord, reason: str) -> KeyRecord:
        """Block a key, and end its sessions. Without a reason, a former one stays."""
        self.sessions.delete_of_key(before.id)
        after = msgspec.structs.replace(
            before,
            version=before.version + 1,
            blocked_at=before.blocked_at or self.now,
            blocked_reason=reason or before.blocked_reason,
        )
        return self.update(actor, "block", before, after)

    def delete_key(self, actor: Actor, record: KeyRecord) -> None:
        """Delete a key, and end its sessions."""
        self.sessions.delete_of_key(record.id)
        self.keys.delete_key(record.id, self.now)
        self.record(actor, "delete", record)


class KeyDatabase:
    """Opens the database when it is needed first, and gives its tables to one thread at a time.

    clock: returns milliseconds since 1970.
    audit_days: how long rows of the audit are kept; None deletes none.
    """

    def __init__(self, path: Path, clock: Callable[[], int], audit_days: int | None) -> None:
        self._path = path
        self._clock = clock
        self.audit_days = audit_days
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    @contextlib.contextmanager
    def reading(self) -> Iterator[Tables]:
        """Hold the tables, to read them. Raises StoreUnavailable."""
        with self._opened() as connection:
            yield self._tables(connection)

    @contextlib.contextmanager
    def writing(self) -> Iterator[Tables]:
        """Hold a transaction that is stored as a whole, or not at all.

        What is too old is deleted with it. Raises StoreUnavailable.
        """
        with self._opened() as connection, transaction(connection):
            tables = self._tables(connection)
            yield tables
            if self.audit_days is not None:
                tables.audit.delete_old(tables.now - self.audit_days * _DAY_MS)
            tables.operations.delete_old(tables.now)
            tables.sessions.delete_old(tables.now)

    @contextlib.contextmanager
    def changing(self) -> Iterator[Tables]:
        """Hold a transaction that changes the table of keys, so that it has another version."""
        with self.writing() as tables:
            tables.keys.raise_table_version()
            yield tables

    def empty_log(self) -> None:
        """Move SQLite's log into the database, so that what was deleted stands in neither.

        If somebody reads or writes just now, the log stays until SQLite does the same.
        """
        with contextlib.suppress(StoreUnavailable), self._opened() as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close the database; the next use opens it again."""
        with self._lock:
            self._close()

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._open()
                yield self._connection
            except StoreUnusable as error:
                raise StoreUnavailable(f"The store cannot be used: {error}.") from None
            except (UnicodeEncodeError, OverflowError):  # half a character, or a huge number
                raise InvalidValue("There is a value that cannot be stored.") from None
            except (sqlite3.Error, OSError) as error:
                if getattr(error, "sqlite_errorname", None) != "SQLITE_BUSY":
                    self._close()  # the file may be another one after a repair
                raise _unavailable(error) from error

    def _open(self) -> sqlite3.Connection:
        connection = connect_writer(self._path)
        try:
            connection.execute("PRAGMA secure_delete = ON")  # a forgotten name leaves no trace
            migrate(connection, self._path, now=self._clock())
        except BaseException:
            connection.close()
            raise
        return connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _tables(self, connection: sqlite3.Connection) -> Tables:
        return Tables(
            KeyStore(connection),
            AuditLog(connection),
            SessionStore(connection),
            OperationLog(connection),
            self._clock(),
        )


def _unavailable(error: sqlite3.Error | OSError) -> StoreUnavailable:
    """Return the error for the caller: SQLite's own texts may have data in them."""
    name = getattr(error, "sqlite_errorname", None)
    if name is None and isinstance(error, OSError):
        name = error.strerror
    shown = StoreUnavailable(
        f"The store could not be used ({name or type(error).__name__}); nothing has changed.",
        retry_after=1.0,
    )
    shown.detail = name
    return shown
