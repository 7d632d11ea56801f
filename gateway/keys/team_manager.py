"""Changes teams, and raises limits of keys and teams for a while."""

from __future__ import annotations

from typing import Literal

import msgspec

from gateway.keys import edits
from gateway.keys.audit_log import changed_fields
from gateway.keys.changes import Actor, NewGrant, NewTeam, TeamChange
from gateway.keys.errors import ChangeConflict, InvalidValue, managed_by_config
from gateway.keys.key_database import Tables
from gateway.keys.records import GrantRecord, KeyRecord, TeamRecord
from gateway.keys.store_manager import StoreManager
from gateway.store.ids import new_id


class TeamManager(StoreManager):
    """Makes, changes and deletes teams, and makes grants; see `KeyManager`."""

    def find_team(self, name_or_id: str) -> TeamRecord:
        """Return a team by its id, or else by its name."""
        with self._database.reading() as tables:
            found = tables.keys.team(name_or_id) or tables.keys.team_named(name_or_id)
            if found is not None:
                return found
            if name_or_id in self._config.teams:
                raise managed_by_config(f"Team '{name_or_id}'")
            return tables.team(name_or_id)

    def add_team(
        self, actor: Actor, new: NewTeam, *, idempotency_key: str | None = None
    ) -> TeamRecord:
        """Make a team, and return it. idempotency_key: see `add_key`."""
        new = edits.checked(new)
        with self._database.changing() as tables:
            if idempotency_key is not None:
                team_id = tables.operations.result(actor, idempotency_key, new, tables.now)
                if team_id is not None:
                    return tables.team(team_id)
            self._check_team_name(tables, new.name)
            record = edits.new_team(new, new_id(), now=tables.now)
            tables.keys.insert_team(record)
            tables.record(actor, "add", record, changed_fields(None, record))
            if idempotency_key is not None:
                tables.operations.remember(actor, idempotency_key, new, record.id, tables.now)
            return record

    def change_team(
        self, actor: Actor, team_id: str, change: TeamChange, version: int | None = None
    ) -> TeamRecord:
        """Change some fields of a team, and return it."""
        change = edits.checked(change)
        with self._database.changing() as tables:
            before = edits.expected(tables.team(team_id), version)
            if isinstance(change.name, str) and change.name != before.name:
                self._check_team_name(tables, change.name)
            return tables.update(actor, "change", before, edits.changed_team(before, change))

    def block_team(self, actor: Actor, team_id: str, version: int | None = None) -> TeamRecord:
        """Refuse the requests of all keys of a team from now on."""
        with self._database.changing() as tables:
            before = edits.expected(tables.team(team_id), version)
            after = msgspec.structs.replace(
                before, version=before.version + 1, blocked_at=before.blocked_at or tables.now
            )
            return tables.update(actor, "block", before, after)

    def unblock_team(self, actor: Actor, team_id: str, version: int | None = None) -> TeamRecord:
        """Admit the requests of a blocked team again."""
        with self._database.changing() as tables:
            before = edits.expected(tables.team(team_id), version)
            after = msgspec.structs.replace(before, version=before.version + 1, blocked_at=None)
            return tables.update(actor, "unblock", before, after)

    def delete_team(
        self, actor: Actor, team_id: str, keys: str = "refuse", version: int | None = None
    ) -> None:
        """Delete a team.

        keys: what becomes of its keys. `refuse` deletes nothing if it has some; `block` blocks
        them, and they are in no team then; `move:<name or id>` puts them into another team.
        """
        with self._database.changing() as tables:
            record = edits.expected(tables.team(team_id), version)
            self._leave_team(tables, actor, record, keys)
            tables.keys.delete_team(team_id, tables.now)
            tables.record(actor, "delete", record)

    def forget_team(self, actor: Actor, team_id: str, keys: str = "refuse") -> None:
        """Delete a team, and replace its name by its id everywhere. keys: see `delete_team`."""
        with self._database.changing() as tables:
            record = tables.team(team_id)
            self._leave_team(tables, actor, record, keys)
            tables.keys.delete_team(team_id, tables.now)
            tables.keys.forget_team(team_id)
            tables.audit.forget(team_id)
            tables.record(actor, "forget", msgspec.structs.replace(record, name=record.id))
        self._database.empty_log()

    def grant(
        self, actor: Actor, new: NewGrant, *, idempotency_key: str | None = None
    ) -> GrantRecord:
        """Raise a limit of a key or a team for a day or a month. It cannot be undone.

        idempotency_key: see `add_key`; without one, a repeat raises the limit twice.
        """
        new = edits.checked(new)
        with self._database.changing() as tables:
            if idempotency_key is not None:
                known = tables.operations.result(actor, idempotency_key, new, tables.now)
                former = None if known is None else tables.keys.grant(known)
                if former is not None:
                    return former
            record = edits.new_grant(new, new_id(), self._zone, by=actor, now=tables.now)
            of = tables.key(new.scope_id) if new.scope == "key" else tables.team(new.scope_id)
            if isinstance(of, KeyRecord) and of.kind == "admin":
                raise InvalidValue("An admin key has no limits.", param="scope_id")
            tables.keys.insert_grant(record, actor.key_id)
            change: dict[str, tuple[object, object]] = {
                f"{new.limit} {record.period}": (None, new.amount)
            }
            if new.reason:
                change["reason"] = (None, new.reason)
            tables.record(actor, "grant", of, change)
            if idempotency_key is not None:
                tables.operations.remember(actor, idempotency_key, new, record.id, tables.now)
            return record

    def grants_of(self, scope: Literal["key", "team"], scope_id: str) -> tuple[GrantRecord, ...]:
        """Return all grants to a key or a team, also those of former periods."""
        with self._database.reading() as tables:
            return tables.keys.grants_of(scope, scope_id)

    def _leave_team(self, tables: Tables, actor: Actor, record: TeamRecord, keys: str) -> None:
        """Take the keys of a team out of it, as `delete_team` says."""
        inside = tables.keys.keys_of_team(record.id)
        action, _, name = keys.partition(":")
        target = None
        if action == "move":
            target = self._team_id_of(tables, name)
            if target == record.id:
                raise InvalidValue("Keys can only move to another team.", param="keys")
        elif keys not in ("refuse", "block"):
            raise InvalidValue("Use refuse, block or move:<team>.", param="keys")
        elif keys == "refuse" and inside:
            raise ChangeConflict(
                f"Team '{record.name}' has {len(inside)} keys. Block them with keys=block, or "
                "move them with keys=move:<team>.",
                code="team_has_keys",
            )
        for key in inside:
            before = key
            if target is None:
                before = tables.block_key(actor, key, "its team was deleted")
            after = msgspec.structs.replace(before, version=before.version + 1, team_id=target)
            tables.update(actor, "change", before, after)
