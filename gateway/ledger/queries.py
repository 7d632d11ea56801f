"""Reads sums and rows: to show them, never on the path of a request."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from gateway.ledger.batch import SUMS
from gateway.store.database import StoreUnusable, connect_reader
from gateway.store.migrations import STEPS, check_not_newer

Group: TypeAlias = Literal["key", "team", "model", "day", "route"]

LONGEST: Final = 5.0
"""The most seconds that a query may take."""

_NAMES: Final[dict[str, str]] = {
    "key": "coalesce(key.name, '')",
    "team": "coalesce(team.name, '')",
    "model": "used.model",
    "day": "used.day",
    "route": "used.route",
}
_IDS: Final = {"key": "key_id", "team": "team_id"}
_JOINS: Final = {
    "key": " LEFT JOIN key ON key.id = used.key_id",
    "team": " LEFT JOIN team ON team.id = used.team_id",
}

_SHOWN: Final = (
    *("id", "request_id", "at", "day", "model", "route", "stream", "status", "ended", "cause"),
    *("refused", "finish_reason", "prompt_tokens", "completion_tokens", "reasoning_tokens"),
    *("usage_source", "queued_ms", "first_ms", "duration_ms", "tries", "account", "node"),
    *("bytes", "client"),
)


@dataclass(frozen=True, slots=True)
class LedgerFilter:
    """Chooses rows or sums; None of a field chooses all.

    since_day, until_day: the first and the last local day, such as `2026-11-28`.
    since, until: times in milliseconds since 1970, the first included; for rows only.
    key, team: a name or an id; empty for rows without one.
    These are for rows only:
    failed: whether only requests that did not end as `complete`.
    id: the id of the row. request_id: the one in the header `x-request-id`.
    status, cause: what the client got, and why it failed. account: the name of the last one.
    """

    since_day: str | None = None
    until_day: str | None = None
    since: int | None = None
    until: int | None = None
    key: str | None = None
    team: str | None = None
    model: str | None = None
    route: str | None = None
    failed: bool = False
    id: str | None = None
    request_id: str | None = None
    status: int | None = None
    cause: str | None = None
    account: str | None = None


@contextlib.contextmanager
def reading(path: Path, *, longest: float = LONGEST) -> Iterator[sqlite3.Connection]:
    """Hold a connection that reads only, in one view of the data, for so many seconds at most.

    It blocks: call it in a thread. Raises StoreUnusable with a text for the operator, OSError
    and sqlite3.Error.
    """
    try:
        connection = connect_reader(path)
    except FileNotFoundError:
        raise StoreUnusable(
            f"{path} does not exist; a gateway makes it when it starts for the first time"
        ) from None
    watch = threading.Timer(longest, connection.interrupt)
    watch.daemon = True
    watch.start()
    try:
        step = check_not_newer(connection, path)
        if step < len(STEPS):
            raise StoreUnusable(
                f"{path} has schema {step}, and this version needs {len(STEPS)}; "
                "start the gateway, or run: fitten-gateway db migrate"
            )
        connection.execute("BEGIN")
        yield connection
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
            raise StoreUnusable(f"the query took more than {longest:g} seconds") from None
        raise
    finally:
        watch.cancel()
        connection.close()


_NO_LIMIT = 2**31 - 1  # rows; -1 is none in SQLite only


def usage(
    connection: sqlite3.Connection,
    by: Sequence[Group] = (),
    where: LedgerFilter | None = None,
    *,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Return the sums of `usage_day` by some names; without names, the sum of all.

    limit: the most rows; which ones is not defined, so who gets so many asks for fewer.

    A row has the names, the columns of `SUMS`, and `total_tokens`. The order is that of the
    tokens, the most first; with the day as the first name it is that of the days.
    Raises sqlite3.Error.
    """
    where = where or LedgerFilter()
    conditions, values = _conditions(where, rows=False)
    # Sums by id first, so that names are looked up for a few rows only.
    ids = [_IDS.get(name, name) for name in by]
    grouped = f" GROUP BY {', '.join(f'used.{name}' for name in ids)}" if by else ""
    summed = [f"sum(used.{name}) AS {name}" for name in SUMS]
    inner = ", ".join([*(f"used.{name}" for name in ids), *summed])
    by_id = f"SELECT {inner} FROM usage_day AS used{conditions}{grouped}"
    joins = "".join(_JOINS[name] for name in by if name in _JOINS)
    names = [f"{_NAMES[name]} AS by_{name}" for name in by]
    # A sum of bigint is numeric in PostgreSQL, so it is cast back.
    sums = [f"CAST(coalesce(sum(used.{name}), 0) AS bigint) AS {name}" for name in SUMS]
    grouped = f" GROUP BY {', '.join(_NAMES[name] for name in by)}" if by else ""
    found = connection.execute(
        f"SELECT {', '.join([*names, *sums])} FROM ({by_id}) AS used{joins}{grouped} LIMIT :limit",
        {**values, "limit": _NO_LIMIT if limit is None else limit},
    ).fetchall()
    answer = [dict(zip((*by, *SUMS), tuple(row), strict=True)) for row in found]
    for row in answer:
        row["total_tokens"] = row["prompt_tokens"] + row["completion_tokens"]

    def place(row: dict[str, Any]) -> tuple[Any, ...]:
        first = (row["day"],) if by and by[0] == "day" else ()
        return (*first, -row["total_tokens"], -row["requests"], *(row[name] for name in by))

    return sorted(answer, key=place)


def requests(
    connection: sqlite3.Connection,
    where: LedgerFilter | None = None,
    *,
    limit: int = 100,
    after: tuple[int, str] | None = None,
) -> list[dict[str, Any]]:
    """Return rows, the newest first, so many at most. Raises sqlite3.Error.

    after: `at` and `id` of the last row that the caller has; older rows follow.
    """
    conditions, values = _conditions(where or LedgerFilter(), rows=True)
    if after is not None:
        # The first half is what the index on the time serves.
        older = "used.at <= :last_at AND (used.at < :last_at OR used.id < :last_id)"
        conditions += f" {'AND' if conditions else 'WHERE'} {older}"
        values |= {"last_at": after[0], "last_id": after[1]}
    columns = ", ".join(f"used.{name}" for name in _SHOWN)
    joins = "".join(_JOINS.values())
    found = connection.execute(
        f"SELECT {_NAMES['key']}, {_NAMES['team']}, {columns} FROM request AS used{joins}"
        f"{conditions} ORDER BY used.at DESC, used.id DESC LIMIT :limit",
        {**values, "limit": limit},
    ).fetchall()
    answer = [dict(zip(("key", "team", *_SHOWN), tuple(row), strict=True)) for row in found]
    for row in answer:
        row["stream"], row["refused"] = bool(row["stream"]), bool(row["refused"])
    return answer


def lost_rows(connection: sqlite3.Connection, where: LedgerFilter | None = None) -> int:
    """Return how many rows could not be kept, by day and key only. Raises sqlite3.Error."""
    where = where or LedgerFilter()
    conditions = ""
    values: dict[str, str] = {}
    for condition, name, value in (
        ("day >= :since_day", "since_day", where.since_day),
        ("day <= :until_day", "until_day", where.until_day),
        ("key = :key", "key", where.key),
    ):
        if value is not None:
            conditions += f"{' AND' if values else ' WHERE'} {condition}"
            values[name] = value
    text = f"SELECT CAST(coalesce(sum(count), 0) AS bigint) FROM lost{conditions}"
    return int(connection.execute(text, values).fetchone()[0])


def _conditions(where: LedgerFilter, *, rows: bool) -> tuple[str, dict[str, str | int]]:
    """Return the text of the conditions, and its values."""
    conditions: list[str] = []
    values: dict[str, str | int] = {}

    def add(condition: str, name: str, value: str | int | None) -> None:
        if value is not None:
            conditions.append(condition)
            values[name] = value

    add("used.day >= :since_day", "since_day", where.since_day)
    add("used.day <= :until_day", "until_day", where.until_day)
    # By id, so that the index on it is used.
    for name in ("key", "team"):
        value = getattr(where, name)
        if value == "":
            conditions.append(f"used.{name}_id = ''")
        else:
            text = f"used.{name}_id IN (SELECT id FROM {name} WHERE name = :{name} OR id = :{name})"
            add(text, name, value)
    add("used.model = :model", "model", where.model)
    add("used.route = :route", "route", where.route)
    if rows:
        add("used.at >= :since", "since", where.since)
        add("used.at < :until", "until", where.until)
        for name in ("id", "request_id", "status", "cause", "account"):
            add(f"used.{name} = :{name}", name, getattr(where, name))
        if where.failed:
            conditions.append("used.ended <> 'complete'")
    return (f" WHERE {' AND '.join(conditions)}" if conditions else ""), values
