"""Answers which requests there were: rows of the ledger, by what one knows of them."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import replace
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from gateway.admin.api.call import AdminCall
from gateway.admin.api.resources.usage import FilterText, ledger_of
from gateway.ledger.queries import LedgerFilter, requests

_ROW_ID: Final = re.compile(r"[0-9a-f]{32}")
Moment = Annotated[int, Meta(ge=0, le=10**14)]


class RequestsQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Describes which rows are wanted; each member that is there must fit.

    id: of the row, or the one in the header `x-request-id`.
    key, team: a name or an id; empty for requests without one.
    status: the one that the client got. cause: why it failed, a word of docs/logs.md.
    failed: whether only requests that did not end as `complete`.
    since, until: milliseconds since 1970, the first included.
    cursor: of the page before, for the rows after it.
    """

    id: FilterText | None = None
    key: FilterText | None = None
    team: FilterText | None = None
    model: FilterText | None = None
    route: FilterText | None = None
    account: FilterText | None = None
    status: Annotated[int, Meta(ge=100, le=599)] | None = None
    cause: FilterText | None = None
    failed: bool = False
    since: Moment | None = None
    until: Moment | None = None
    limit: Annotated[int, Meta(ge=1, le=500)] = 100
    cursor: Annotated[str, Meta(pattern="^[0-9]{1,15}-[0-9a-f]{32}$")] | None = None


class RequestRow(msgspec.Struct, frozen=True, kw_only=True):
    """Describes a request as the ledger has it; docs/privacy.md explains each member."""

    id: str
    request_id: str
    at: int
    day: str
    key: str | None
    team: str | None
    model: str
    route: str
    stream: bool
    status: int | None
    ended: str
    cause: str | None
    refused: bool
    finish_reason: str | None
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    usage_source: str
    queued_ms: int
    first_ms: int | None
    duration_ms: int
    tries: int
    account: str
    node: str
    bytes: int
    client: str


class RequestPage(msgspec.Struct, frozen=True, kw_only=True):
    """Holds rows, the newest first. cursor: for those after them; None at the end."""

    rows: list[RequestRow]
    cursor: str | None


async def search_requests(call: AdminCall) -> RequestPage:
    """Return the newest rows that fit."""
    query: RequestsQuery = call.query
    where = LedgerFilter(
        since=query.since,
        until=query.until,
        key=query.key,
        team=query.team,
        model=query.model,
        route=query.route,
        account=query.account,
        status=query.status,
        cause=query.cause,
        failed=query.failed,
    )
    after = _row_of(query.cursor)
    wanted = query.limit + 1

    def read(connection: sqlite3.Connection) -> list[dict[str, Any]]:
        if query.id is None:
            return requests(connection, where, limit=wanted, after=after)
        # Clients may choose the id in the header, so it can look like that of a row.
        if _ROW_ID.fullmatch(query.id):
            by_row = replace(where, id=query.id)
            if found := requests(connection, by_row, limit=wanted, after=after):
                return found
        by_header = replace(where, request_id=query.id)
        return requests(connection, by_header, limit=wanted, after=after)

    found = await ledger_of(call).read(read)
    rows = [_row(row) for row in found[: query.limit]]
    more = len(found) > query.limit
    return RequestPage(rows=rows, cursor=f"{rows[-1].at}-{rows[-1].id}" if more else None)


def _row(row: dict[str, Any]) -> RequestRow:
    return RequestRow(**row | {"key": row["key"] or None, "team": row["team"] or None})


def _row_of(cursor: str | None) -> tuple[int, str] | None:
    """Return the time and the id of the row that a cursor names."""
    if cursor is None:
        return None
    at, _, row_id = cursor.partition("-")
    return int(at), row_id
