"""Applies lines of a spool to the database, all of them in one transaction."""

from __future__ import annotations

import functools
import sqlite3
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

import msgspec

from gateway.ledger.row import ABORTED, Began, LedgerRow, LostRows, SpoolLine, crashed
from gateway.store.database import transaction
from gateway.store.ids import new_id

_T = TypeVar("_T")

Detail = Literal["rows", "days"]

RECENT_MS: Final = 5 * 60 * 1000
"""The length of a bucket of `usage_recent`, in milliseconds."""

_CELL: Final = ("day", "key_id", "team_id", "model", "route")
SUMS: Final = (
    *("requests", "failed", "aborted", "refused", "prompt_tokens", "completion_tokens"),
    *("reasoning_tokens", "estimated", "duration_ms", "first_ms", "firsts"),
)
"""The columns of `usage_day` that are sums."""

_COLUMNS: Final = (
    *("id", "request_id", "at", "day", "key_id", "team_id", "model", "route", "stream", "status"),
    *("ended", "cause", "refused", "finish_reason", "prompt_tokens", "completion_tokens"),
    *("reasoning_tokens", "usage_source", "queued_ms", "first_ms", "duration_ms", "tries"),
    *("account", "node", "bytes", "client"),
)


def _insert(table: str, columns: Sequence[str], conflict: str) -> str:
    names = ", ".join(columns)
    values = ", ".join(f":{name}" for name in columns)
    return f"INSERT INTO {table} ({names}) VALUES ({values}) ON CONFLICT {conflict}"


@dataclass(frozen=True, slots=True)
class _ManyRows:
    """Describes an insertion of many rows by one statement.

    Each statement gives the interpreter's lock away some times and has to wait for it again,
    beside a busy event loop. That costs more than the statement.
    """

    table: str
    columns: tuple[str, ...]
    conflict: str

    def text(self, count: int) -> str:
        """Return the statement for so many rows."""
        row = f"({', '.join('?' * len(self.columns))})"
        return (
            f"INSERT INTO {self.table} ({', '.join(self.columns)}) "
            f"VALUES {', '.join([row] * count)} ON CONFLICT {self.conflict}"
        )


def _adding(table: str, key: tuple[str, ...], sums: tuple[str, ...]) -> _ManyRows:
    added = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in sums)
    return _ManyRows(table, (*key, *sums), f"({', '.join(key)}) DO UPDATE SET {added}")


# A connection keeps its statements, and large ones take much memory: so there are few sizes.
_AT_ONCE: Final = (64, 32, 16, 8, 4, 2, 1)
_IDS_AT_ONCE: Final = (8, 40, 200)
_REQUESTS: Final = _ManyRows("request", _COLUMNS, "(id) DO NOTHING")
_BEGUN: Final = _ManyRows("began", ("id", "process", "line"), "(id) DO NOTHING")
_DAYS: Final = _adding("usage_day", _CELL, SUMS)
_RECENT: Final = _adding("usage_recent", ("at", "key_id", "team_id"), ("tokens",))
_LOST: Final = _adding("lost", ("day", "key"), ("count",))
_PARTIAL = _insert("partial_day", ("day",), "(day) DO NOTHING")
_POSITION = _insert(
    "spool_position", ("file", "read_to"), "(file) DO UPDATE SET read_to = excluded.read_to"
)
_LIVE: Final = "name = :name AND deleted_at IS NULL"
_NEW_KEY = _insert(
    "key",
    ("id", "kind", "source", "name", "created_at"),
    "(source, kind, name) WHERE deleted_at IS NULL DO NOTHING",
)
_NEW_TEAM = _insert(
    "team",
    ("id", "source", "name", "created_at"),
    "(source, name) WHERE deleted_at IS NULL DO NOTHING",
)
_KEY_ID = f"SELECT id FROM key WHERE source = :source AND kind = 'api' AND {_LIVE}"
_TEAM_ID = f"SELECT id FROM team WHERE source = 'config' AND {_LIVE}"
_FORGET = "DELETE FROM began WHERE id IN ({})"
_KNOWN = "SELECT id FROM request WHERE id IN ({})"
_GONE = "SELECT line FROM began WHERE process = :process ORDER BY id LIMIT :count"

_decode_began = msgspec.json.Decoder(Began).decode
_encode_began = msgspec.json.Encoder().encode


def sums_of(row: LedgerRow) -> tuple[int, ...]:
    """Return what a row adds to each column of `SUMS`."""
    counted = not row.refused
    aborted = counted and row.ended in ABORTED
    failed = counted and not aborted and row.ended != "complete"
    first = row.first_ms
    return (
        int(counted),
        int(failed),
        int(aborted),
        int(row.refused),
        row.prompt_tokens,
        row.completion_tokens,
        row.reasoning_tokens,
        int(row.usage_source == "estimated"),
        row.duration_ms,
        first or 0,
        int(first is not None),
    )


class BatchWriter:
    """Writes lines to the tables, and remembers the ids of keys and teams.

    detail: `days` to keep the sums only, and no row.
    """

    def __init__(self, connection: sqlite3.Connection, *, detail: Detail = "rows") -> None:
        self.detail = detail
        self._connection = connection
        self._keys: dict[tuple[str, str], str] = {}
        self._teams: dict[str, str] = {}
        self._most_values = connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)

    def write(
        self,
        lines: Sequence[tuple[str, SpoolLine]],
        positions: Mapping[str, int],
        *,
        now: int,
        lost: Iterable[tuple[str, str]] = (),
        begun: Collection[str] = (),
    ) -> None:
        """Apply lines, each with its process, and store up to where each file was read.

        now: the time, in milliseconds since 1970.
        lost: day and key of each row that cannot be read, to be counted.
        begun: the ids of rows whose beginning stood among the lines and is left out.
        All of it is one transaction. Raises sqlite3.Error and OverflowError; then nothing has
        changed.
        """
        try:
            with transaction(self._connection):
                self._apply(lines, now, lost, begun)
                for file, read_to in positions.items():
                    self._connection.execute(_POSITION, {"file": file, "read_to": read_to})
        except BaseException:
            self._forget_ids()
            raise

    def end_crashed(self, process: str, *, now: int, count: int) -> int:
        """Write the rows of requests that a process left open, so many at most.

        Return how many there were. Raises sqlite3.Error.
        """
        try:
            with transaction(self._connection):
                found = self._connection.execute(_GONE, {"process": process, "count": count})
                left = [_decode_began(line) for (line,) in found.fetchall()]
                self._apply([(process, crashed(began)) for began in left], now)
        except BaseException:
            self._forget_ids()
            raise
        return len(left)

    def drop_crashed(self, process: str, *, now: int) -> None:
        """Count as lost the first request that a process left open. Raises sqlite3.Error."""
        with transaction(self._connection):
            found = self._connection.execute(_GONE, {"process": process, "count": 1})
            left = [_decode_began(line) for (line,) in found.fetchall()]
            lost = [(process, LostRows(one.day, one.key, 1, [one.id])) for one in left]
            self._apply(lost, now)

    def _apply(
        self,
        lines: Sequence[tuple[str, SpoolLine]],
        now: int,
        lost: Iterable[tuple[str, str]] = (),
        known: Collection[str] = (),
    ) -> None:
        ended = {line.id for _, line in lines if isinstance(line, LedgerRow)}
        begun: dict[str, tuple[str, str, str]] = {}
        over: list[str] = []
        rows: dict[str, LedgerRow] = {}
        counts: dict[tuple[str, str], int] = defaultdict(int)
        days: dict[tuple[str, ...], tuple[int, ...]] = {}
        recent: dict[tuple[int, str, str], int] = defaultdict(int)
        for place in lost:
            counts[place] += 1
        for process, line in _with_pauses(lines):
            if isinstance(line, Began):
                text = "" if line.id in ended else _encode_began(line).decode()
                begun[line.id] = (line.id, process, text)
            elif isinstance(line, LostRows):
                counts[line.day, line.key] += line.count
                over += line.ids
            else:
                if line.id not in begun and line.id not in known:
                    over.append(line.id)
                rows.setdefault(line.id, line)
        self._insert(_BEGUN, [values for row_id, values in begun.items() if row_id not in ended])
        self._forget(over)
        inserted = self._insert_rows(list(rows.values()), now)
        for line, key_id, team_id in _with_pauses(inserted):
            cell = (line.day, key_id, team_id, line.model, line.route)
            sums = sums_of(line)
            former = days.get(cell)
            days[cell] = sums if former is None else tuple(map(int.__add__, former, sums))
            if tokens := line.prompt_tokens + line.completion_tokens:
                recent[line.at // RECENT_MS * RECENT_MS, key_id, team_id] += tokens
        # In the order of the primary key: two writers of another database would else dead-lock.
        self._insert(_DAYS, [(*cell, *sums) for cell, sums in sorted(days.items())])
        self._insert(_RECENT, [(*place, tokens) for place, tokens in sorted(recent.items())])
        self._insert(_LOST, [(*place, count) for place, count in sorted(counts.items())])

    def _insert(self, kind: _ManyRows, rows: Sequence[tuple[object, ...]]) -> None:
        most = self._most_values // len(kind.columns)
        for part in _parts(rows, [size for size in _AT_ONCE if size <= most]):
            values = [value for row in part for value in row]
            self._connection.execute(_text(kind, len(part)), values)

    def _forget(self, ids: Sequence[str]) -> None:
        for part in _parts_of_ids(ids):
            self._connection.execute(_FORGET.format(_marks(part)), part)

    def _insert_rows(self, rows: Sequence[LedgerRow], now: int) -> list[tuple[LedgerRow, str, str]]:
        """Insert those rows that are new, and return them with the ids of key and team.

        With sums only, every row counts as new.
        """
        known: set[str] = set()
        if self.detail == "rows":
            for ids in _parts_of_ids([row.id for row in rows]):
                found = self._connection.execute(_KNOWN.format(_marks(ids)), ids)
                known.update(row_id for (row_id,) in found.fetchall())
        new = [
            (row, row.key_id or self._key_id(row, now), self._team_id(row, now))
            for row in _with_pauses(rows)
            if row.id not in known
        ]
        if self.detail != "rows":
            for day in sorted({row.day for row in rows}):
                self._connection.execute(_PARTIAL, {"day": day})
            return new
        self._insert(_REQUESTS, [_values(*one) for one in new])
        return new

    def _key_id(self, row: LedgerRow, now: int) -> str:
        """Return the id of a row's key; a new name gets one."""
        if not row.key:
            return ""
        known = self._keys.get((row.source, row.key))
        if known is None:
            names = {"source": row.source, "name": row.key}
            new: dict[str, object] = {**names, "id": new_id(), "kind": "api", "created_at": now}
            known = self._id_of(_KEY_ID, names, _NEW_KEY, new)
            self._keys[row.source, row.key] = known
        return known

    def _team_id(self, row: LedgerRow, now: int) -> str:
        """Return the id of a row's team; a new name gets one, since it is of config.yaml."""
        team = row.team
        if row.team_id or not team:
            return row.team_id
        known = self._teams.get(team)
        if known is None:
            new: dict[str, object] = {"name": team, "id": new_id(), "created_at": now}
            new["source"] = "config"
            known = self._teams[team] = self._id_of(_TEAM_ID, {"name": team}, _NEW_TEAM, new)
        return known

    def _id_of(
        self, select: str, names: dict[str, str], insert: str, new: dict[str, object]
    ) -> str:
        found = self._connection.execute(select, names).fetchone()
        if found is None:
            self._connection.execute(insert, new)
            found = self._connection.execute(select, names).fetchone()
        return str(found[0])

    def _forget_ids(self) -> None:
        """Forget ids that were undone with their transaction."""
        self._keys.clear()
        self._teams.clear()


def _values(row: LedgerRow, key_id: str, team_id: str) -> tuple[object, ...]:
    """Return the values of a row in the order of `_COLUMNS`."""
    return (
        *(row.id, row.request_id, row.at, row.day, key_id, team_id, row.model, row.route),
        *(int(row.stream), row.status, row.ended, row.cause, int(row.refused)),
        *(row.finish_reason, row.prompt_tokens, row.completion_tokens, row.reasoning_tokens),
        *(row.usage_source, row.queued_ms, row.first_ms, row.duration_ms, row.tries),
        *(row.account, row.node, row.bytes, row.client),
    )


_text = functools.cache(_ManyRows.text)


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _parts(values: Sequence[_T], sizes: Sequence[int]) -> Iterator[Sequence[_T]]:
    """Yield values in parts of these sizes, the largest first; the last one is 1."""
    first = 0
    for size in sizes:
        while len(values) - first >= size:
            yield values[first : first + size]
            first += size


def _parts_of_ids(ids: Sequence[str]) -> Iterator[list[str]]:
    """Yield ids in parts of a few sizes, filled up with empty ones."""
    for first in range(0, len(ids), _IDS_AT_ONCE[-1]):
        part = ids[first : first + _IDS_AT_ONCE[-1]]
        size = next(size for size in _IDS_AT_ONCE if len(part) <= size)
        yield [*part, *[""] * (size - len(part))]


def _with_pauses(values: Sequence[_T]) -> Iterator[_T]:
    """Yield values, and let the event loop have the interpreter now and then."""
    for index, value in enumerate(values):
        if index % 64 == 63:
            time.sleep(0)
        yield value
