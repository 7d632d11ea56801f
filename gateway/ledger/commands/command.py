"""Runs the commands usage, requests and db: reads the ledger, and keeps its database in order."""

from __future__ import annotations

import contextlib
import datetime
import errno
import os
import re
import sqlite3
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast, get_args

from gateway.ledger import queries, verify
from gateway.ledger.batch import SUMS
from gateway.ledger.commands.source import LedgerSource, configured_store, existing_store
from gateway.ledger.csv_text import csv_text
from gateway.ledger.queries import Group, LedgerFilter
from gateway.ledger.spool_files import spool_folder
from gateway.ledger.spool_reader import SpoolReader
from gateway.redaction import printable
from gateway.store import database, migrations
from gateway.store.database import StoreUnusable, store_error_text
from gateway.terminal import (
    FAILED,
    USAGE_ERROR,
    print_json,
    print_members,
    print_note,
    print_table,
    run_command,
)

Action = Literal["status", "migrate", "backup", "verify"]

_AGE: Final = re.compile(r"(\d{1,6})([mhd])")
_SECONDS: Final = {"m": 60, "h": 3600, "d": 86_400}
_LONGEST_CHECK: Final = 3600.0  # seconds; reading all rows of a large database takes minutes

# What the tables show; the JSON form has all.
_USAGE: Final = (
    *("requests", "failed", "aborted", "refused", "prompt_tokens", "completion_tokens"),
    "total_tokens",
)
_REQUESTS: Final = (
    *("at", "key", "model", "route", "status", "ended", "prompt_tokens", "completion_tokens"),
    *("duration_ms", "request_id"),
)


@dataclass(frozen=True, slots=True)
class LedgerOptions:
    """Holds the options of `usage` and `requests`, as they are written on the command line.

    since, until: an age such as `30m`, `12h` or `7d`, or a local day; until is included.
    id: of a row of the ledger, or the one that the client got in `x-request-id`.
    status, cause: what the client got, and why it failed.
    as_csv: of `usage` only.
    """

    by: tuple[str, ...] = ("key",)
    since: str | None = None
    until: str | None = None
    key: str | None = None
    team: str | None = None
    model: str | None = None
    route: str | None = None
    failed: bool = False
    id: str | None = None
    status: int | None = None
    cause: str | None = None
    limit: int = 100
    as_json: bool = False
    as_csv: bool = False


def days_in(zone: datetime.tzinfo) -> Callable[[int], str]:
    """Return what tells the local day of a time in milliseconds since 1970."""
    return lambda at: datetime.datetime.fromtimestamp(at / 1000, zone).date().isoformat()


class _WrongOption(Exception):
    """Reports that an option of the command line is wrong."""


@dataclass(frozen=True, slots=True)
class _Clock:
    """Tells the time in milliseconds since 1970, and the local day of such a time."""

    now: int
    day_of: Callable[[int], str]


def show_usage(source: LedgerSource, options: LedgerOptions, *, now: int | None = None) -> int:
    """Print sums by key, team, model, day or route; return the exit status.

    now: the time that ages count from, in milliseconds since 1970.
    """
    clock = _Clock(_now() if now is None else now, source.day_of)

    def run() -> int:
        by = _groups(options.by)
        where = LedgerFilter(
            since_day=_day(options.since, "--since", clock),
            until_day=_day(options.until, "--until", clock),
            key=options.key,
            team=options.team,
            model=options.model,
            route=options.route,
        )
        found = source.usage(by, where)
        if options.as_csv:
            sys.stdout.write(csv_text((*by, *SUMS, "total_tokens"), found.rows).decode())
        elif options.as_json:
            data: dict[str, Any] = {"rows": _with_null(found.rows), "by": by}
            data["totals"] = found.totals
            data |= {"lost": found.lost, "since": where.since_day, "until": where.until_day}
            print_json(data)
        else:
            total = dict.fromkeys(by, "") | {by[0]: "(all)"} | found.totals
            print_table((*by, *_USAGE), [*found.rows, total])
            if found.lost:
                print(f"{found.lost} rows could not be kept; they are not in these sums.")
        return 0

    return _run(run, as_json=options.as_json)


def show_requests(source: LedgerSource, options: LedgerOptions, *, now: int | None = None) -> int:
    """Print rows of requests, the newest first; return the exit status. now: see `show_usage`."""
    clock = _Clock(_now() if now is None else now, source.day_of)

    def run() -> int:
        where = LedgerFilter(
            since_day=_date(options.since),
            until_day=_date(options.until),
            since=_time(options.since, "--since", clock),
            until=_time(options.until, "--until", clock),
            key=options.key,
            team=options.team,
            model=options.model,
            route=options.route,
            failed=options.failed,
            status=options.status,
            cause=options.cause,
        )
        rows = source.requests(where, options.id, options.limit)
        for row in rows:
            row["at"] = _utc(row["at"])
        if options.as_json:
            print_json({"rows": _with_null(rows)})
        else:
            print_table(_REQUESTS, rows)
        return 0

    return _run(run, as_json=options.as_json)


def manage_store(
    file: Path | None, action: Action, *, target: Path | None = None, as_json: bool = False
) -> int:
    """Show, migrate, copy or check the database; return the exit status.

    It is 1 if the database cannot be used, or if a check finds something.
    target: the file of the copy; unless given, it is beside the database.
    """

    def run() -> int:
        path = configured_store(file)
        if action == "migrate":
            data = _migrate(path)
        elif action == "backup":
            data = _back_up(existing_store(path), target)
        elif action == "verify":
            data = _verify(existing_store(path))
        else:
            data = _status(existing_store(path))
        if as_json:
            print_json(data)
        else:
            print_members(data)
        return FAILED if data.get("ok") is False else 0

    return _run(run, as_json=as_json)


def store_fault(file: Path) -> str | None:
    """Return why a start could not use a database, as far as that shows without writing.

    Rights are not looked at: they are those of another user.
    """
    try:
        if file.is_dir():
            return f"{file} cannot be used: {os.strerror(errno.EISDIR)}"
        folder = next(folder for folder in file.absolute().parents if folder.exists())
        if kind := database.network_file_system(folder):
            return f"{file} is on {kind}, where SQLite's locks do not work"
        if file.exists():
            with contextlib.closing(database.connect_immutable(file)) as connection:
                migrations.check_not_newer(connection, file)
    except StoreUnusable as error:
        return str(error)
    except sqlite3.Error as error:
        if database.is_lasting(error):
            return f"{file} cannot be used: {store_error_text(error)}"
    except OSError:  # of another user
        pass
    return None


def _run(command: Callable[[], int], *, as_json: bool) -> int:
    """Run a command, and print what goes wrong as one line; in JSON as well if that is asked for.

    The members of that are those of the commands which ask a gateway.
    """

    def failed(text: str) -> int:
        print_note(text)
        if as_json:
            print_json({"error": {"message": text, "status": None, "code": None, "param": None}})
        return FAILED

    def run() -> int:
        try:
            return command()
        except BrokenPipeError:
            raise
        except _WrongOption as error:
            print(printable(str(error)), file=sys.stderr)
            return USAGE_ERROR
        except StoreUnusable as error:
            return failed(str(error))
        except (OSError, sqlite3.Error) as error:
            return failed(f"The database cannot be read or written: {store_error_text(error)}")

    return run_command(run)


def _status(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = {
        "file": str(path),
        "size": path.stat().st_size,
        "schema": 0,
        "known_schema": len(migrations.STEPS),
    }
    with contextlib.closing(database.connect_reader(path)) as connection:
        data["schema"] = migrations.schema_step(connection)
        if data["schema"] != data["known_schema"]:
            data["ok"] = data["schema"] < data["known_schema"]
            data["next_step"] = "fitten-gateway db migrate" if data["ok"] else "use a newer version"
            return data
        counted = {
            "requests": "SELECT count(*) FROM request",
            "open": "SELECT count(*) FROM began",
            "keys": "SELECT count(*) FROM key",
            "days": "SELECT count(DISTINCT day) FROM usage_day",
            "first_day": "SELECT min(day) FROM usage_day",
            "last_day": "SELECT max(day) FROM usage_day",
            "lost": "SELECT coalesce(sum(count), 0) FROM lost",
        }
        for name, text in counted.items():
            data[name] = connection.execute(text).fetchone()[0]
        positions = connection.execute("SELECT file, read_to FROM spool_position").fetchall()
    try:
        reader = SpoolReader(spool_folder(path), dict(map(tuple, positions)))
        data["unread_bytes"] = reader.unread()
    except FileNotFoundError:
        data["unread_bytes"] = 0
    return data


def _migrate(path: Path) -> dict[str, Any]:
    with contextlib.closing(database.connect_writer(path)) as connection:
        steps, saved = migrations.migrate(connection, path, now=_now())
        schema = migrations.schema_step(connection)
    backup = None if saved is None else str(saved)
    return {"file": str(path), "schema": schema, "steps": steps, "backup": backup}


def _back_up(path: Path, target: Path | None) -> dict[str, Any]:
    if target is None:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        target = path.with_name(f"{path.name}.{stamp}.backup")
    elif target.exists():
        raise _WrongOption(f"--to: {target} exists already")
    with contextlib.closing(database.connect_reader(path)) as connection:
        migrations.back_up(connection, target)
    return {"file": str(path), "backup": str(target), "size": target.stat().st_size}


def _verify(path: Path) -> dict[str, Any]:
    with queries.reading(path, longest=_LONGEST_CHECK) as connection:
        damage = verify.damage(connection)
        days = [] if damage else verify.differing_days(connection)
        lost = queries.lost_rows(connection)
    return {
        "file": str(path),
        "ok": not damage and not days,
        "damage": damage,
        "differing_days": days,
        "lost": lost,
    }


def _groups(names: tuple[str, ...]) -> tuple[Group, ...]:
    known = get_args(Group)
    for name in names:
        if name not in known:
            raise _WrongOption(f"--by: {name!r} is not one of {', '.join(known)}")
    if not names or len(set(names)) < len(names):
        raise _WrongOption("--by: name each of them once")
    return cast("tuple[Group, ...]", names)


def _now() -> int:
    return time.time_ns() // 1_000_000


def _date(text: str | None) -> str | None:
    """Return a day that is written as such; None for another form."""
    try:
        return None if text is None else datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        return None


def _time(text: str | None, option: str, clock: _Clock) -> int | None:
    """Return the time of an age; None for a day."""
    if text is None or _date(text) is not None:
        return None
    found = _AGE.fullmatch(text)
    if found is None:
        raise _WrongOption(
            f"{option}: {text!r} is neither an age such as 30m, 12h or 7d nor a day "
            "such as 2026-01-31"
        )
    return max(0, clock.now - int(found[1]) * _SECONDS[found[2]] * 1000)


def _day(text: str | None, option: str, clock: _Clock) -> str | None:
    at = _time(text, option, clock)
    return _date(text) if at is None else clock.day_of(at)


def _utc(at: int) -> str:
    text = datetime.datetime.fromtimestamp(at / 1000, datetime.UTC).isoformat("T", "milliseconds")
    return text.replace("+00:00", "Z")


def _with_null(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows with null for a key and a team that there is not."""
    for row in rows:
        for name in ("key", "team"):
            if name in row:
                row[name] = row[name] or None
    return rows
