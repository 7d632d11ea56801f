"""Answers what was used: sums of the ledger by day, key, team, model and route, also as CSV."""

from __future__ import annotations

import sqlite3
from typing import Annotated, Any, Final, cast

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType, field

from gateway.admin.api.call import AdminCall
from gateway.admin.api.errors import NoStore
from gateway.admin.api.resources.trail import record
from gateway.keys.errors import InvalidValue
from gateway.ledger.batch import SUMS
from gateway.ledger.csv_text import csv_text
from gateway.ledger.queries import Group, LedgerFilter, lost_rows, usage
from gateway.ledger.reader import LedgerReader

MOST_ROWS: Final = 50_000
"""The most rows of an answer; who asks for more gets 400."""

# Days are compared as texts, so a day that the calendar lacks harms nothing.
Day = Annotated[str, Meta(pattern="^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$")]
Groups = Annotated[
    str, Meta(pattern="^(day|key|team|model|route)(,(day|key|team|model|route)){0,4}$")
]
FilterText = Annotated[str, Meta(max_length=200)]


class UsageQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Describes which sums are wanted.

    by: names of groups, separated by commas: day, key, team, model, route.
    from, to: the first and the last local day, such as `2026-11-28`; absent for all.
    key, team: a name or an id; empty for requests without one.
    bom: whether CSV begins with the mark by which Excel sees that it is UTF-8.
    """

    by: Groups = "key"
    since: Day | None = field(name="from", default=None)
    until: Day | None = field(name="to", default=None)
    key: FilterText | None = None
    team: FilterText | None = None
    model: FilterText | None = None
    route: FilterText | None = None
    bom: bool = False


class UsageSums(msgspec.Struct, frozen=True, kw_only=True):
    """Holds the sums of some requests.

    requests: those that were admitted. failed, aborted: parts of them; the client or its editor
        has ended an aborted one. refused: those that were not admitted.
    estimated: how many have token counts that Fitten did not give.
    duration_ms, first_ms: sums of times. firsts: how many requests have a `first_ms`.
    """

    requests: int
    failed: int
    aborted: int
    refused: int
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    total_tokens: int
    estimated: int
    duration_ms: int
    first_ms: int
    firsts: int


class UsageRow(UsageSums, frozen=True, kw_only=True):
    """Holds the sums of one group; it has the names that `by` asked for. None: without one."""

    day: str | UnsetType = UNSET
    key: str | UnsetType | None = UNSET
    team: str | UnsetType | None = UNSET
    model: str | UnsetType = UNSET
    route: str | UnsetType = UNSET


class UsageReport(msgspec.Struct, frozen=True, kw_only=True):
    """Holds all groups, and their sum.

    lost: how many rows could not be kept, so that they are in no sum.
    time_zone: where the days begin.
    """

    by: list[Group]
    rows: list[UsageRow]
    totals: UsageSums
    lost: int
    time_zone: str
    since: str | None = field(name="from")
    until: str | None = field(name="to")


async def show_usage(call: AdminCall) -> web.Response:
    """Return a `UsageReport` as JSON, or its rows as CSV if the caller accepts only that."""
    if call.http.headers.get("Accept", "").partition(";")[0].strip().lower() == "text/csv":
        return await export_usage(call)
    query: UsageQuery = call.query
    by, where, zone = _groups(query.by), _filter(query), str(call.node.config.time_zone)

    def read(connection: sqlite3.Connection) -> bytes:
        # All of it in the thread: many rows would hold the event loop.
        rows = _rows(connection, by, where)
        for row in rows:
            for name in ("key", "team"):
                if name in row:
                    row[name] = row[name] or None
        (totals,) = usage(connection, (), where)
        report = UsageReport(
            by=list(by),
            rows=[UsageRow(**row) for row in rows],
            totals=UsageSums(**totals),
            lost=lost_rows(connection, where),
            time_zone=zone,
            since=query.since,
            until=query.until,
        )
        return msgspec.json.encode(report)

    body = await ledger_of(call).read(read)
    return web.Response(body=body, content_type="application/json")


async def export_usage(call: AdminCall) -> web.Response:
    """Return the same rows as CSV, and keep in the audit who exported which."""
    query: UsageQuery = call.query
    by = _groups(query.by)
    where = _filter(query)
    columns = (*by, *SUMS, "total_tokens")

    def read(connection: sqlite3.Connection) -> bytes:
        return csv_text(columns, _rows(connection, by, where), bom=query.bom)

    body = await ledger_of(call).read(read)
    chosen = {"from": query.since, "to": query.until, "key": query.key, "team": query.team}
    await record(call, "usage.export", "", query.by, chosen, required=True)
    name = f"usage-by-{'-'.join(by)}_{query.since or 'begin'}_{query.until or 'today'}.csv"
    return web.Response(
        body=body,
        content_type="text/csv",
        charset="utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def ledger_of(call: AdminCall) -> LedgerReader:
    """Return what reads the ledger. Raises NoStore (409) without a store."""
    if call.node.ledger is None:
        raise NoStore
    return call.node.ledger


def _groups(text: str) -> tuple[Group, ...]:
    """Return the names, each once."""
    return cast("tuple[Group, ...]", tuple(dict.fromkeys(text.split(","))))


def _filter(query: UsageQuery) -> LedgerFilter:
    return LedgerFilter(
        since_day=query.since,
        until_day=query.until,
        key=query.key,
        team=query.team,
        model=query.model,
        route=query.route,
    )


def _rows(
    connection: sqlite3.Connection, by: tuple[Group, ...], where: LedgerFilter
) -> list[dict[str, Any]]:
    rows = usage(connection, by, where, limit=MOST_ROWS + 1)
    if len(rows) > MOST_ROWS:
        raise InvalidValue(
            f"This has more than {MOST_ROWS} rows; choose fewer days or groups.", param="by"
        )
    return rows
