"""Holds what all changes of keys and teams need: the database, the audit, and sessions."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, tzinfo
from pathlib import Path

import msgspec

from gateway.keys.audit_log import AuditFilter, AuditPage, Changed
from gateway.keys.changes import Actor, ConfigNames
from gateway.keys.errors import ChangeConflict, InvalidValue, UnknownObject, managed_by_config
from gateway.keys.key_database import KeyDatabase, Tables
from gateway.keys.records import KeyKind, KeyRecord, KeyTable, Role
from gateway.keys.sessions import SEEN_EVERY_MS, SessionRecord


def _now() -> int:
    return time.time_ns() // 1_000_000


class StoreManager:
    """Opens the database, and knows the names of config.yaml; see `KeyManager`."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], int] = _now,
        zone: tzinfo = UTC,
        audit_days: int | None = None,
    ) -> None:
        self._database = KeyDatabase(path, clock, audit_days)
        self._zone = zone
        self._config = ConfigNames()

    def configure(self, zone: tzinfo, names: ConfigNames, *, audit_days: int | None = None) -> None:
        """Set what a configuration says, at the start and after a reload.

        names: those in config.yaml. audit_days: None keeps the number of days that it has.
        """
        self._zone, self._config = zone, names
        if audit_days is not None:
            self._database.audit_days = audit_days

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def table(self) -> KeyTable:
        """Return every key, team and current grant."""
        with self._database.reading() as tables:
            return tables.keys.table(tables.now)

    def audit(self, where: AuditFilter | None = None, cursor: str | None = None) -> AuditPage:
        """Return rows of the audit, the newest first. cursor: that of the page before."""
        with self._database.reading() as tables:
            return tables.audit.page(where or AuditFilter(), cursor)

    def record(
        self,
        actor: Actor,
        action: str,
        object_id: str,
        object_name: str,
        change: Changed | None = None,
    ) -> None:
        """Add a row to the audit about what is done elsewhere, such as `account.pause`."""
        with self._database.writing() as tables:
            tables.audit.append(actor, tables.now, action, object_id, object_name, change)

    def add_session(self, actor: Actor, role: Role, agent: str = "", *, key_mark: str = "") -> str:
        """Start the session of a browser, and return the text for its cookie.

        actor: who has shown an admin key. role: of that key. agent: the browser's family.
        key_mark: of a key of config.yaml; see `SessionRecord`.
        """
        with self._database.writing() as tables:
            now = tables.now
            record = SessionRecord(actor.key_id, actor.name, role, now, now, agent, key_mark)
            text = tables.sessions.add(record)
            tables.audit.append(actor, now, "session.add", actor.key_id, actor.name)
            return text

    def find_session(self, text: str, *, renew: bool = True) -> SessionRecord | None:
        """Return the session of a cookie's text, or None if there is none that lasts.

        It ends 8 hours after the last request, after 7 days, and with its key. Name and role are
        those that the key has now; for a key of config.yaml, those that it had.
        renew: whether somebody has sent a request, so that the 8 hours begin anew.
        """
        with self._database.reading() as tables:
            found = tables.sessions.find(text, tables.now)
            if found is None:
                return None
            if found.key_id:
                key = tables.keys.key(found.key_id)
                if key is None or key.role is None or not _is_usable(key, tables.now):
                    return None
                found = msgspec.structs.replace(found, key_name=key.name, role=key.role)
            elif found.key_name not in self._config.admin_keys:
                return None
            seen = tables.now - found.seen_at < SEEN_EVERY_MS
        if renew and not seen:
            with self._database.writing() as tables:
                tables.sessions.see(text, tables.now)
        return found

    def end_session(self, actor: Actor, text: str) -> None:
        """End the session of a cookie's text, if there is one."""
        with self._database.writing() as tables:
            found = tables.sessions.find(text, tables.now)
            tables.sessions.delete(text)
            if found is not None:
                tables.audit.append(actor, tables.now, "session.end", found.key_id, found.key_name)

    def _check_key_name(self, tables: Tables, name: str, kind: KeyKind) -> None:
        in_config = self._config.keys if kind == "api" else self._config.admin_keys
        if name in in_config:
            raise _taken(f"config.yaml has a key named '{name}'; use another name.")
        if tables.keys.key_named(name, kind) is not None:
            raise _taken(f"There is a key named '{name}'; use another name, or change that key.")

    def _check_team_name(self, tables: Tables, name: str) -> None:
        if name in self._config.teams:
            raise _taken(f"config.yaml has a team named '{name}'; use another name.")
        if tables.keys.team_named(name) is not None:
            raise _taken(f"There is a team named '{name}'; use another name, or change that team.")

    def _team_id_of(self, tables: Tables, name_or_id: str | None) -> str | None:
        """Return the id of the team that a request names; one of config.yaml may get it now.

        Raises InvalidValue if there is no such team.
        """
        if name_or_id is None:
            return None
        found = tables.keys.team(name_or_id) or tables.keys.team_named(name_or_id)
        if found is not None:
            return found.id
        name = tables.keys.config_team(name_or_id) or name_or_id
        if name in self._config.teams:
            return tables.keys.config_team_id(name, tables.now)
        # What was given is not quoted, here and below: it may be a key in the wrong place.
        raise InvalidValue("There is no team of this name or id.", param="team")

    def _no_key(self, name_or_id: str, kind: KeyKind) -> UnknownObject | ChangeConflict:
        in_config = self._config.keys if kind == "api" else self._config.admin_keys
        if name_or_id in in_config:
            return managed_by_config(f"Key '{name_or_id}'")
        noun = "key" if kind == "api" else "admin key"
        return UnknownObject(f"There is no {noun} of this name or id.")


def _is_usable(key: KeyRecord, now: int) -> bool:
    return key.blocked_at is None and (key.expires_at is None or now < key.expires_at)


def _taken(text: str) -> ChangeConflict:
    return ChangeConflict(text, code="name_taken", param="name")
