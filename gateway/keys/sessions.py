"""Keeps the sessions of browsers: who has shown an admin key once, and need not again.

The browser has a random text in a cookie. Only its digest is stored.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from typing import Any, Final

import msgspec

from gateway.keys.records import Role

IDLE_MS: Final = 8 * 3_600_000
"""How long a session lasts without a request, in milliseconds."""

LONGEST_MS: Final = 7 * 24 * 3_600_000
"""How long a session lasts at most, in milliseconds."""

SEEN_EVERY_MS: Final = 60_000
"""How exact `seen_at` is: so that not each request is a write."""

_MOST: Final = 20  # sessions of one key; the oldest makes room
_MOST_OF_AGENT: Final = 64  # characters
_COLUMNS: Final = (
    "sha256",
    "key_id",
    "key_name",
    "role",
    "made_at",
    "seen_at",
    "agent",
    "key_mark",
)
_LIVE: Final = "seen_at > :idle AND made_at > :longest"


class SessionRecord(msgspec.Struct, frozen=True, eq=False):
    """Describes a session.

    key_id: of the admin key, if the store has it; empty for one of config.yaml.
    key_name, role: of that key when the session began.
    made_at, seen_at: in milliseconds since 1970; `seen_at` may be a minute too early.
    agent: the family of the browser, such as `firefox`.
    key_mark: tells a key of config.yaml from another one that has its name later.
    """

    key_id: str
    key_name: str
    role: Role
    made_at: int
    seen_at: int
    agent: str = ""
    key_mark: str = ""


class SessionStore:
    """Holds the SQL of sessions. The caller holds the transaction. Raises sqlite3.Error."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add(self, record: SessionRecord) -> str:
        """Store a session, and return the text for its cookie, which is not kept."""
        text = secrets.token_urlsafe(32)
        values = {**msgspec.structs.asdict(record), "sha256": _digest_of(text)}
        values["agent"] = record.agent[:_MOST_OF_AGENT]
        marks = ", ".join(f":{name}" for name in _COLUMNS)
        self._connection.execute(
            f"INSERT INTO session ({', '.join(_COLUMNS)}) VALUES ({marks})", values
        )
        self._connection.execute(
            "DELETE FROM session WHERE sha256 IN (SELECT sha256 FROM session "
            "WHERE key_id = :key_id AND key_name = :key_name "
            f"ORDER BY seen_at DESC, made_at DESC LIMIT 1000 OFFSET {_MOST})",
            values,
        )
        return text

    def find(self, text: str, now: int) -> SessionRecord | None:
        """Return the session of a cookie's text, or None if there is none or it is over."""
        found = self._connection.execute(
            f"SELECT {', '.join(_COLUMNS[1:])} FROM session WHERE sha256 = :sha256 AND {_LIVE}",
            {"sha256": _digest_of(text), **_ends(now)},
        ).fetchone()
        return None if found is None else SessionRecord(*found)

    def see(self, text: str, now: int) -> None:
        """Store that a request of this session came."""
        values = (now, _digest_of(text))
        self._connection.execute("UPDATE session SET seen_at = ? WHERE sha256 = ?", values)

    def delete(self, text: str) -> None:
        """Delete a session."""
        self._connection.execute("DELETE FROM session WHERE sha256 = ?", (_digest_of(text),))

    def delete_of_key(self, key_id: str) -> None:
        """Delete all sessions of a key that the store has."""
        self._connection.execute("DELETE FROM session WHERE key_id = ?", (key_id,))

    def delete_old(self, now: int) -> None:
        """Delete the sessions that are over."""
        self._connection.execute(f"DELETE FROM session WHERE NOT ({_LIVE})", _ends(now))


def _ends(now: int) -> dict[str, Any]:
    return {"idle": now - IDLE_MS, "longest": now - LONGEST_MS}


def _digest_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
