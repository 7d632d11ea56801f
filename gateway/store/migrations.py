"""Updates the tables of a database to those of this program, in numbered steps."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gateway.store.database import StoreUnusable
from gateway.store.owners import give_to_owner

# The text is for SQLite and PostgreSQL alike, but for what stands in braces. Times are
# milliseconds since 1970. Rows outlive keys, so that nothing refers to a key by a constraint.
# An empty id stands for no key and no team.
STEPS: Final[Sequence[Sequence[str]]] = (
    (
        """
        CREATE TABLE key (
            id text NOT NULL PRIMARY KEY,
            kind text NOT NULL,
            source text NOT NULL,
            name text NOT NULL,
            created_at bigint NOT NULL,
            UNIQUE (source, name)
        )""",
        """
        CREATE TABLE team (
            id text NOT NULL PRIMARY KEY,
            name text NOT NULL UNIQUE,
            created_at bigint NOT NULL
        )""",
        """
        CREATE TABLE request (
            id text NOT NULL PRIMARY KEY,
            request_id text NOT NULL,
            at bigint NOT NULL CHECK (at >= 0),
            day text NOT NULL CHECK (length(day) = 10),
            key_id text NOT NULL,
            team_id text NOT NULL,
            model text NOT NULL,
            route text NOT NULL,
            stream bigint NOT NULL CHECK (stream IN (0, 1)),
            status bigint CHECK (status BETWEEN 100 AND 599),
            ended text NOT NULL,
            cause text,
            refused bigint NOT NULL CHECK (refused IN (0, 1)),
            finish_reason text,
            prompt_tokens bigint NOT NULL CHECK (prompt_tokens >= 0),
            completion_tokens bigint NOT NULL CHECK (completion_tokens >= 0),
            reasoning_tokens bigint NOT NULL CHECK (reasoning_tokens >= 0),
            usage_source text NOT NULL,
            queued_ms bigint NOT NULL CHECK (queued_ms >= 0),
            first_ms bigint CHECK (first_ms >= 0),
            duration_ms bigint NOT NULL CHECK (duration_ms >= 0),
            tries bigint NOT NULL CHECK (tries >= 0),
            account text NOT NULL,
            node text NOT NULL,
            bytes bigint NOT NULL CHECK (bytes >= 0),
            client text NOT NULL
        )""",
        "CREATE INDEX request_at ON request (at)",
        "CREATE INDEX request_key_at ON request (key_id, at)",
        """
        CREATE TABLE usage_day (
            day text NOT NULL,
            key_id text NOT NULL,
            team_id text NOT NULL,
            model text NOT NULL,
            route text NOT NULL,
            requests bigint NOT NULL,
            failed bigint NOT NULL,
            aborted bigint NOT NULL,
            refused bigint NOT NULL,
            prompt_tokens bigint NOT NULL,
            completion_tokens bigint NOT NULL,
            reasoning_tokens bigint NOT NULL,
            estimated bigint NOT NULL,
            duration_ms bigint NOT NULL,
            first_ms bigint NOT NULL,
            firsts bigint NOT NULL,
            PRIMARY KEY (day, key_id, team_id, model, route)
        ){without_rowid}""",
        # Tokens of five minutes, kept for a week: limits of 5 hours and 7 days begin with them.
        """
        CREATE TABLE usage_recent (
            at bigint NOT NULL,
            key_id text NOT NULL,
            team_id text NOT NULL,
            tokens bigint NOT NULL,
            PRIMARY KEY (at, key_id, team_id)
        ){without_rowid}""",
        # Days of which rows were deleted, or never kept: their sums cannot be checked.
        "CREATE TABLE partial_day (day text NOT NULL PRIMARY KEY)",
        """
        CREATE TABLE lost (
            day text NOT NULL,
            key text NOT NULL,
            count bigint NOT NULL CHECK (count >= 0),
            PRIMARY KEY (day, key)
        )""",
        """
        CREATE TABLE began (
            id text NOT NULL PRIMARY KEY,
            process text NOT NULL,
            line text NOT NULL
        )""",
        "CREATE INDEX began_process ON began (process)",
        """
        CREATE TABLE spool_position (
            file text NOT NULL PRIMARY KEY,
            read_to bigint NOT NULL CHECK (read_to >= 0)
        )""",
    ),
    (
        # Tables are made anew, since their former constraints must go: a name may be used again
        # after its key was deleted. Version 0 is a key of config.yaml, which only has a name here.
        # Lists are JSON.
        """
        CREATE TABLE new_key (
            id text NOT NULL PRIMARY KEY,
            kind text NOT NULL CHECK (kind IN ('api', 'admin')),
            source text NOT NULL,
            name text NOT NULL,
            created_at bigint NOT NULL,
            version bigint NOT NULL DEFAULT 0,
            created_by text NOT NULL DEFAULT '',
            created_by_id text NOT NULL DEFAULT '',
            role text CHECK (role IN ('admin', 'viewer', 'metrics')),
            team_id text,
            models text,
            routes text,
            note text NOT NULL DEFAULT '',
            expires_at bigint,
            blocked_at bigint,
            blocked_reason text NOT NULL DEFAULT '',
            deleted_at bigint,
            chats_per_minute bigint CHECK (chats_per_minute >= 0),
            completions_per_minute bigint CHECK (completions_per_minute >= 0),
            listings_per_minute bigint CHECK (listings_per_minute >= 0),
            tokens_per_minute bigint CHECK (tokens_per_minute >= 0),
            concurrency bigint CHECK (concurrency >= 0),
            requests_per_day bigint CHECK (requests_per_day >= 0),
            requests_per_month bigint CHECK (requests_per_month >= 0),
            tokens_per_5h bigint CHECK (tokens_per_5h >= 0),
            tokens_per_day bigint CHECK (tokens_per_day >= 0),
            tokens_per_7d bigint CHECK (tokens_per_7d >= 0),
            tokens_per_month bigint CHECK (tokens_per_month >= 0)
        )""",
        """
        INSERT INTO new_key (id, kind, source, name, created_at)
        SELECT id, kind, source, name, created_at FROM key""",
        "DROP TABLE key",
        "ALTER TABLE new_key RENAME TO key",
        """
        CREATE UNIQUE INDEX key_name ON key (source, kind, name)
        WHERE deleted_at IS NULL""",
        "CREATE INDEX key_team ON key (team_id)",
        """
        CREATE TABLE new_team (
            id text NOT NULL PRIMARY KEY,
            source text NOT NULL DEFAULT 'config',
            name text NOT NULL,
            created_at bigint NOT NULL,
            version bigint NOT NULL DEFAULT 0,
            note text NOT NULL DEFAULT '',
            blocked_at bigint,
            deleted_at bigint,
            chats_per_minute bigint CHECK (chats_per_minute >= 0),
            completions_per_minute bigint CHECK (completions_per_minute >= 0),
            listings_per_minute bigint CHECK (listings_per_minute >= 0),
            tokens_per_minute bigint CHECK (tokens_per_minute >= 0),
            concurrency bigint CHECK (concurrency >= 0),
            requests_per_day bigint CHECK (requests_per_day >= 0),
            requests_per_month bigint CHECK (requests_per_month >= 0),
            tokens_per_5h bigint CHECK (tokens_per_5h >= 0),
            tokens_per_day bigint CHECK (tokens_per_day >= 0),
            tokens_per_7d bigint CHECK (tokens_per_7d >= 0),
            tokens_per_month bigint CHECK (tokens_per_month >= 0)
        )""",
        """
        INSERT INTO new_team (id, name, created_at)
        SELECT id, name, created_at FROM team""",
        "DROP TABLE team",
        "ALTER TABLE new_team RENAME TO team",
        "CREATE UNIQUE INDEX team_name ON team (source, name) WHERE deleted_at IS NULL",
        # The digest is in hexadecimal digits. No text of a key is stored anywhere.
        """
        CREATE TABLE key_secret (
            sha256 text NOT NULL PRIMARY KEY CHECK (length(sha256) = 64),
            key_id text NOT NULL,
            last4 text NOT NULL,
            created_at bigint NOT NULL,
            expires_at bigint
        ){without_rowid}""",
        "CREATE INDEX key_secret_key ON key_secret (key_id)",
        """
        CREATE TABLE budget_grant (
            id text NOT NULL PRIMARY KEY,
            scope text NOT NULL CHECK (scope IN ('key', 'team')),
            scope_id text NOT NULL,
            period text NOT NULL CHECK (length(period) IN (7, 10)),
            limit_name text NOT NULL,
            amount bigint NOT NULL CHECK (amount > 0),
            made_at bigint NOT NULL,
            made_by text NOT NULL,
            made_by_id text NOT NULL,
            reason text NOT NULL
        )""",
        "CREATE INDEX budget_grant_period ON budget_grant (period)",
        """
        CREATE TABLE audit (
            id bigint NOT NULL PRIMARY KEY,
            at bigint NOT NULL,
            actor text NOT NULL,
            actor_id text NOT NULL,
            action text NOT NULL,
            object text NOT NULL,
            object_id text NOT NULL,
            object_name text NOT NULL,
            change text NOT NULL,
            request_id text NOT NULL,
            address text NOT NULL
        )""",
        "CREATE INDEX audit_at ON audit (at)",
        "CREATE INDEX audit_object ON audit (object_id, id)",
        """
        CREATE TABLE session (
            sha256 text NOT NULL PRIMARY KEY CHECK (length(sha256) = 64),
            key_id text NOT NULL,
            key_name text NOT NULL,
            key_mark text NOT NULL,
            role text NOT NULL,
            made_at bigint NOT NULL,
            seen_at bigint NOT NULL,
            agent text NOT NULL
        ){without_rowid}""",
        "CREATE INDEX session_key ON session (key_id)",
        """
        CREATE TABLE operation (
            actor text NOT NULL,
            idempotency_key text NOT NULL,
            at bigint NOT NULL,
            request text NOT NULL,
            result text NOT NULL,
            PRIMARY KEY (actor, idempotency_key)
        ){without_rowid}""",
        "CREATE INDEX operation_at ON operation (at)",
        "CREATE TABLE state (name text NOT NULL PRIMARY KEY, value bigint NOT NULL)",
    ),
)

_VERSION = "CREATE TABLE IF NOT EXISTS schema_version (step bigint PRIMARY KEY, at bigint NOT NULL)"


def schema_step(connection: sqlite3.Connection) -> int:
    """Return the last step that was applied to a database; 0 for an empty one."""
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema_version'")
    if found.fetchone() is None:
        return 0
    (step,) = connection.execute("SELECT max(step) FROM schema_version").fetchone()
    return step or 0


def check_not_newer(connection: sqlite3.Connection, path: Path, known: int = len(STEPS)) -> int:
    """Return the step of a database. Raises StoreUnusable if this program does not know it."""
    step = schema_step(connection)
    if step > known:
        raise StoreUnusable(
            f"{path} has schema {step}, and this version knows schema {known} at most; "
            "use the newer version, or a backup from before"
        )
    return step


def migrate(
    connection: sqlite3.Connection,
    path: Path,
    *,
    now: int,
    steps: Sequence[Sequence[str]] = STEPS,
) -> tuple[int, Path | None]:
    """Apply the steps that a database lacks, all in one transaction.

    now: the time, in milliseconds since 1970.
    Return how many were applied, and the backup that was made before, if the database had
    tables. Two processes may do this at the same time. Raises StoreUnusable and sqlite3.Error;
    then nothing has changed.
    """
    before = check_not_newer(connection, path, len(steps))
    if before == len(steps):
        return 0, None
    saved = None
    if before:
        saved = path.with_name(f"{path.name}.schema-{before}.backup")
        back_up(connection, saved)
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(_VERSION)
        first = check_not_newer(connection, path, len(steps))  # another process may be done
        for number, statements in enumerate(steps[first:], first + 1):
            for statement in statements:
                connection.execute(statement.replace("{without_rowid}", " WITHOUT ROWID"))
            connection.execute("INSERT INTO schema_version VALUES (?, ?)", (number, now))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return len(steps) - first, saved


def back_up(connection: sqlite3.Connection, target: Path) -> None:
    """Write a whole copy of the database to a file with mode 0600, and replace a former one.

    A copy of the file alone may lack what is in the log beside it. Raises OSError and
    sqlite3.Error.
    """
    unfinished = target.with_name(f"{target.name}.{secrets.token_hex(4)}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(unfinished, flags, 0o600)
    try:
        try:
            give_to_owner(descriptor, target.parent)
        finally:
            os.close(descriptor)
        connection.execute("VACUUM INTO ?", (str(unfinished),))
        os.replace(unfinished, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)
        raise
