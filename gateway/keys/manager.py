"""Changes keys, teams and grants, for the admin API and for the command line."""

from __future__ import annotations

from typing import Final

import msgspec

from gateway.keys import edits
from gateway.keys.audit_log import changed_fields
from gateway.keys.changes import Actor, IssuedKey, KeyChange, NewKey
from gateway.keys.errors import InvalidValue, UnknownObject
from gateway.keys.key_text import new_key_text
from gateway.keys.records import KeyKind, KeyRecord, SecretRecord
from gateway.keys.team_manager import TeamManager

DAY_MS: Final = 24 * 3_600_000


class KeyManager(TeamManager):
    """Makes, changes and deletes keys, admin keys, teams and grants in the database.

    path: the database; it is made if there is none.
    clock: returns the time, in milliseconds since 1970.
    zone: where days and months of grants begin.
    audit_days: how long rows of the audit are kept; None deletes none.

    Each method that changes something is one transaction: the change, its row of the audit, and
    another version of the table. Afterwards `table` returns what every process needs to know.
    `version` of a method is that of the record that the caller has seen; None for any.

    All methods block on the disk: call them in a thread. They raise UnknownObject,
    ChangeConflict, VersionConflict, InvalidValue and StoreUnavailable, which say what to do.
    Several threads, and several processes, may change the database at the same time.
    """

    def find_key(
        self, name_or_id: str, kind: KeyKind = "api", *, deleted: bool = False
    ) -> KeyRecord:
        """Return a key by its id, or else by its name.

        deleted: whether it may be a deleted one, if no other has that name; to forget it.
        """
        with self._database.reading() as tables:
            keys = tables.keys
            found = keys.key(name_or_id)
            if found is None or found.kind != kind:
                found = keys.key_named(name_or_id, kind)
            if found is not None:
                return found
            former = keys.deleted_keys(name_or_id, kind) if deleted else ()
        if len(former) == 1:
            return former[0]
        if former:
            ids = ", ".join(record.id for record in former)
            raise InvalidValue(f"Several deleted keys had this name; use an id: {ids}.")
        raise self._no_key(name_or_id, kind)

    def add_key(
        self, actor: Actor, new: NewKey, *, idempotency_key: str | None = None
    ) -> IssuedKey:
        """Make a key, and return it with its text, which is shown this once.

        idempotency_key: chosen by the caller. A repeat within 24 hours makes nothing, and
        returns the same key without its text.
        """
        new = edits.checked(new)
        with self._database.changing() as tables:
            if idempotency_key is not None:
                key_id = tables.operations.result(actor, idempotency_key, new, tables.now)
                if key_id is not None:
                    return IssuedKey(tables.key(key_id), None, already_issued=True)
            self._check_key_name(tables, new.name, new.kind)
            issued = new_key_text(new.kind)
            secret = SecretRecord(issued.sha256, issued.last4, tables.now)
            team_id = self._team_id_of(tables, new.team)
            record = edits.new_key(new, issued.id, secret, team_id, by=actor, now=tables.now)
            tables.keys.insert_key(record, actor.key_id)
            tables.record(actor, "add", record, changed_fields(None, record))
            if idempotency_key is not None:
                tables.operations.remember(actor, idempotency_key, new, record.id, tables.now)
            return IssuedKey(record, issued.text)

    def change_key(
        self, actor: Actor, key_id: str, change: KeyChange, version: int | None = None
    ) -> KeyRecord:
        """Change some fields of a key, and return it. A change of nothing is none."""
        change = edits.checked(change)
        with self._database.changing() as tables:
            before = edits.expected(tables.key(key_id), version)
            if isinstance(change.name, str) and change.name != before.name:
                self._check_key_name(tables, change.name, before.kind)
            name = change.team if isinstance(change.team, str) else None
            team_id = self._team_id_of(tables, name)
            after = edits.changed_key(before, change, team_id, now=tables.now)
            return tables.update(actor, "change", before, after)

    def change_keys(self, actor: Actor, team: str, change: KeyChange) -> tuple[KeyRecord, ...]:
        """Change some fields of all keys of a team, or of none, and return these keys.

        team: its name or id. Keys of config.yaml that are in the team stay as they are.
        """
        change = edits.checked(change)
        with self._database.changing() as tables:
            inside = self._team_id_of(tables, team)
            assert inside is not None
            name = change.team if isinstance(change.team, str) else None
            team_id = self._team_id_of(tables, name)
            return tuple(
                tables.update(
                    actor, "change", key, edits.changed_key(key, change, team_id, now=tables.now)
                )
                for key in tables.keys.keys_of_team(inside)
            )

    def rotate_key(
        self,
        actor: Actor,
        key_id: str,
        grace_ms: int = DAY_MS,
        *,
        idempotency_key: str | None = None,
        version: int | None = None,
    ) -> IssuedKey:
        """Give a key another text, and return it; the former one still works for a while.

        grace_ms: how long, up to 30 days; 0 if the former text is known to others. Sessions that
        were begun with it end then, too.
        At most two texts work: one that was replaced before ends now. idempotency_key: see
        `add_key`.
        """
        request = ("rotate", key_id, grace_ms)
        with self._database.changing() as tables:
            now = tables.now
            if idempotency_key is not None:
                known = tables.operations.result(actor, idempotency_key, request, now)
                if known is not None:
                    return IssuedKey(tables.key(known), None, already_issued=True)
            before = edits.expected(tables.key(key_id), version)
            former_ends = edits.end_of_grace(now, grace_ms)
            issued = new_key_text(before.kind, before.id)
            secret = SecretRecord(issued.sha256, issued.last4, now)
            kept = [one for one in before.secrets if one.expires_at is None and grace_ms]
            tables.keys.delete_secrets(key_id, [one.sha256 for one in kept])
            for former in kept:
                tables.keys.expire_secret(former.sha256, former_ends)
            if not grace_ms:
                tables.sessions.delete_of_key(key_id)
            tables.keys.insert_secret(key_id, secret)
            tables.keys.update_key(msgspec.structs.replace(before, version=before.version + 1))
            last4 = before.secrets[-1].last4 if before.secrets else None
            change = {"last4": (last4, secret.last4), "grace_ms": (None, grace_ms)}
            tables.record(actor, "rotate", before, change)
            if idempotency_key is not None:
                tables.operations.remember(actor, idempotency_key, request, key_id, now)
            return IssuedKey(tables.key(key_id), issued.text)

    def block_key(
        self, actor: Actor, key_id: str, reason: str = "", version: int | None = None
    ) -> KeyRecord:
        """Refuse the requests of a key from now on, and end the sessions of an admin key.

        reason: what its owner is told.
        """
        edits.check_text(reason, "reason")
        with self._database.changing() as tables:
            before = edits.expected(tables.key(key_id), version)
            return tables.block_key(actor, before, reason)

    def unblock_key(self, actor: Actor, key_id: str, version: int | None = None) -> KeyRecord:
        """Admit the requests of a blocked key again."""
        with self._database.changing() as tables:
            before = edits.expected(tables.key(key_id), version)
            after = msgspec.structs.replace(
                before, version=before.version + 1, blocked_at=None, blocked_reason=""
            )
            return tables.update(actor, "unblock", before, after)

    def delete_key(self, actor: Actor, key_id: str, version: int | None = None) -> None:
        """Delete a key. Its rows in the ledger stay, and its name may be used again."""
        with self._database.changing() as tables:
            tables.delete_key(actor, edits.expected(tables.key(key_id), version))

    def forget_key(self, actor: Actor, key_id: str) -> None:
        """Delete a key, if that is not done, and replace its name by its id everywhere.

        Notes and reasons that people wrote about it are deleted. Copies of the database keep
        what they have.
        """
        with self._database.changing() as tables:
            record = tables.keys.key(key_id)
            if record is not None:
                tables.delete_key(actor, record)
            else:
                former = [
                    *tables.keys.deleted_keys(key_id, "api"),
                    *tables.keys.deleted_keys(key_id, "admin"),
                ]
                record = next((one for one in former if one.id == key_id), None)
                if record is None:
                    raise UnknownObject("There is no key of this name or id.")
            tables.keys.forget_key(record)
            tables.audit.forget(key_id)
            tables.record(actor, "forget", msgspec.structs.replace(record, name=key_id))
        self._database.empty_log()
