"""Remembers what was done under an `Idempotency-Key`, so that a repeat does it once."""

from __future__ import annotations

import hashlib
import sqlite3
from typing import Any, Final

import msgspec

from gateway.keys.changes import Actor
from gateway.keys.errors import ChangeConflict, InvalidValue

KEPT_MS: Final = 24 * 3_600_000
"""How long a repeat is recognised, in milliseconds."""

_MOST_CHARACTERS: Final = 200


class OperationLog:
    """Holds the SQL of operations. The caller holds the transaction. Raises sqlite3.Error."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def result(self, actor: Actor, key: str, request: Any, now: int) -> str | None:
        """Return the id that the same request had as its result before, or None.

        key: what the caller chose. request: all that was asked for.
        Raises InvalidValue for a bad key, ChangeConflict if it stood for another request.
        """
        if not (0 < len(key) <= _MOST_CHARACTERS and key.isascii() and key.isprintable()):
            raise InvalidValue(
                f"Idempotency-Key must have 1 to {_MOST_CHARACTERS} printable ASCII characters.",
                param="Idempotency-Key",
            )
        found = self._connection.execute(
            "SELECT request, result FROM operation "
            "WHERE actor = ? AND idempotency_key = ? AND at > ?",
            (_id_of(actor), key, now - KEPT_MS),
        ).fetchone()
        if found is None:
            return None
        if found[0] != _digest_of(request):
            raise ChangeConflict(
                "This Idempotency-Key was used for another request; use a new one.",
                code="idempotency_conflict",
                param="Idempotency-Key",
            )
        return str(found[1])

    def remember(self, actor: Actor, key: str, request: Any, result: str, now: int) -> None:
        """Store the id that a request has as its result. No secret is stored."""
        self._connection.execute(
            "INSERT INTO operation (actor, idempotency_key, at, request, result) "
            "VALUES (?, ?, ?, ?, ?) ON CONFLICT (actor, idempotency_key) "
            "DO UPDATE SET at = excluded.at, request = excluded.request, result = excluded.result",
            (_id_of(actor), key, now, _digest_of(request), result),
        )

    def delete_old(self, now: int) -> None:
        """Delete what is not recognised any more."""
        self._connection.execute("DELETE FROM operation WHERE at <= ?", (now - KEPT_MS,))


def _id_of(actor: Actor) -> str:
    """Return what stays the same when an admin key gets another name."""
    return actor.key_id or actor.name


def _digest_of(request: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(request)).hexdigest()
