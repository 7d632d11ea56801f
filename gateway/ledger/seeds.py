"""Reads what the counters of limits begin with after a start."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.ledger.batch import RECENT_MS

HOUR_MS: Final = 3_600_000

# What limits count by: ids of those made at run time, as names may change; else names. A key
# made at run time may be in a team of the configuration, and counts with that file's keys.
_NAMES: Final = """coalesce(CASE WHEN key.source = 'store' THEN key.id ELSE key.name END, ''),
        coalesce(CASE WHEN team.source = 'store' THEN team.id ELSE team.name END, '')"""

_PERIODS: Final = f"""
    SELECT {_NAMES},
        CAST(sum(day_requests) AS bigint) AS day_requests,
        CAST(sum(day_tokens) AS bigint) AS day_tokens,
        CAST(sum(month_requests) AS bigint) AS month_requests,
        CAST(sum(month_tokens) AS bigint) AS month_tokens
    FROM (
        SELECT key_id, team_id,
            sum(CASE WHEN day = :day THEN requests ELSE 0 END) AS day_requests,
            sum(CASE WHEN day = :day THEN prompt_tokens + completion_tokens ELSE 0 END)
                AS day_tokens,
            sum(requests) AS month_requests,
            sum(prompt_tokens + completion_tokens) AS month_tokens
        FROM usage_day
        WHERE day >= :first AND day <= :day
        GROUP BY key_id, team_id
    ) AS used
    LEFT JOIN key ON key.id = used.key_id
    LEFT JOIN team ON team.id = used.team_id
    GROUP BY 1, 2"""

_RECENT: Final = f"""
    SELECT {_NAMES},
        used.bucket, CAST(sum(used.tokens) AS bigint) AS tokens
    FROM (
        SELECT key_id, team_id, at / :length AS bucket, sum(tokens) AS tokens
        FROM usage_recent
        WHERE at >= :since
        GROUP BY key_id, team_id, at / :length
    ) AS used
    LEFT JOIN key ON key.id = used.key_id
    LEFT JOIN team ON team.id = used.team_id
    GROUP BY 1, 2, used.bucket
    ORDER BY used.bucket"""


@dataclass(frozen=True, slots=True)
class PeriodUse:
    """Holds what a key used in a team this day and this month; empty texts for none.

    key, team: the id of one that is made at run time, else the name.
    Requests are chats and completions that were admitted; tokens those of prompt and answer.
    """

    key: str
    team: str
    day_requests: int
    day_tokens: int
    month_requests: int
    month_tokens: int


@dataclass(frozen=True, slots=True)
class RecentUse:
    """Holds the tokens that a key used in a team; `begin` is in milliseconds since 1970."""

    key: str
    team: str
    begin: int
    tokens: int


@dataclass(frozen=True, slots=True)
class LedgerSeeds:
    """Holds the use up to now. A key's is the sum over its teams, and a team's over its keys.

    day, month: the local ones that `periods` is about.
    five_minutes: buckets of 5 minutes of the last 5 hours. hours: those of the last 7 days.
    """

    day: str = ""
    month: str = ""
    periods: tuple[PeriodUse, ...] = ()
    five_minutes: tuple[RecentUse, ...] = ()
    hours: tuple[RecentUse, ...] = ()


def read_seeds(
    connection: sqlite3.Connection, *, now: int, day_of: Callable[[int], str]
) -> LedgerSeeds:
    """Return the use of each key and team up to now. Raises sqlite3.Error."""
    day = day_of(now)
    month = day[:7]
    values = {"day": day, "first": f"{month}-01"}
    found = connection.execute(_PERIODS, values).fetchall()
    return LedgerSeeds(
        day,
        month,
        tuple(PeriodUse(*row) for row in found),
        _recent(connection, now - 5 * HOUR_MS, RECENT_MS),
        _recent(connection, now - 7 * 24 * HOUR_MS, HOUR_MS),
    )


def _recent(connection: sqlite3.Connection, since: int, length: int) -> tuple[RecentUse, ...]:
    """Return the tokens in buckets that are not over at `since`."""
    values = {"since": since // length * length, "length": length}
    found = connection.execute(_RECENT, values).fetchall()
    return tuple(
        RecentUse(key, team, bucket * length, tokens) for key, team, bucket, tokens in found
    )
