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
from gateway.store.ownership import give_to_owner

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
