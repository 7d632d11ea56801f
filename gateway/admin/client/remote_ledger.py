"""Reads the ledger of a gateway elsewhere, for the commands usage and requests."""

from __future__ import annotations

import argparse
import datetime
import functools
import os
from typing import Any, Final
from zoneinfo import ZoneInfo

from gateway.admin.client.connection import AdminConnection, path_of
from gateway.admin.client.execution import execute, target_of
from gateway.admin.client.target import connect
from gateway.ledger.commands import command_line
from gateway.ledger.commands.source import LedgerSums, Row
from gateway.ledger.queries import Group, LedgerFilter

_PAGE: Final = 500
_NO_DAY: Final = "9999-12-31"


def run(arguments: argparse.Namespace) -> int:
    """Run usage or requests; return the exit status."""

    def work() -> int:
        connection = connect(target_of(arguments), os.environ)
        return command_line.show(arguments, RemoteLedger(connection))

    return execute(work, as_json=arguments.json)


class RemoteLedger:
    """Implements `LedgerSource` by requests to an admin API. Methods raise AdminRefusal."""

    def __init__(self, connection: AdminConnection) -> None:
        self._connection = connection

    def day_of(self, at: int) -> str:
        """Return the day of a time in the gateway's time zone."""
        return datetime.datetime.fromtimestamp(at / 1000, self._zone).date().isoformat()

    def usage(self, by: tuple[Group, ...], where: LedgerFilter) -> LedgerSums:
        """Return sums."""
        query: dict[str, Any] = {"by": ",".join(by), **_names(where)}
        days = {"from": where.since_day, "to": where.until_day}
        found = self._connection.call("GET", path_of("usage"), query=query | days)
        return LedgerSums(found["rows"], found["totals"], found["lost"])

    def requests(self, where: LedgerFilter, wanted: str | None, limit: int) -> list[Row]:
        """Return the newest rows, page by page."""
        query: dict[str, Any] = {
            **_names(where),
            "id": wanted,
            "since": where.since if where.since_day is None else self._begin(where.since_day),
            "until": where.until if where.until_day is None else self._begin(where.until_day, 1),
            "failed": "true" if where.failed else None,
            "status": where.status,
            "cause": where.cause,
        }
        rows: list[Row] = []
        cursor = None
        while len(rows) < limit:
            asked = {**query, "limit": min(_PAGE, limit - len(rows)), "cursor": cursor}
            page = self._connection.call("GET", path_of("requests"), query=asked)
            rows += page["rows"]
            cursor = page["cursor"]
            if cursor is None:
                break
        return rows

    def _begin(self, day: str, later: int = 0) -> int:
        """Return when a day begins, or one so many days later, in milliseconds since 1970."""
        date = datetime.date.fromisoformat(day) + datetime.timedelta(days=later)
        begin = datetime.datetime.combine(date, datetime.time(), self._zone)
        return round(begin.timestamp() * 1000)

    @functools.cached_property
    def _zone(self) -> datetime.tzinfo | None:
        """Ask for the zone in which the gateway's days begin."""
        query = {"by": "day", "from": _NO_DAY}
        name = self._connection.call("GET", path_of("usage"), query=query)["time_zone"]
        try:
            return ZoneInfo(name)
        except (ValueError, OSError, KeyError):  # this machine does not know it
            return None


def _names(where: LedgerFilter) -> dict[str, str | None]:
    names = ("key", "team", "model", "route")
    return {name: getattr(where, name) for name in names}
