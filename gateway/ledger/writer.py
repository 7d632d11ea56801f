"""Moves lines from the spools into the database: rows, sums and positions at once."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog

from gateway.ledger.batch import BatchWriter, Detail
from gateway.ledger.row import (
    LedgerRow,
    LostRows,
    SpoolLine,
    decode_line,
    id_of_began,
    id_of_ended,
)
from gateway.ledger.spool import CUT_MARK
from gateway.ledger.spool_files import held_if_gone, remove_unused_locks
from gateway.ledger.spool_reader import RawLine, SpoolReader
from gateway.store.database import transaction

_log = structlog.get_logger("ledger")

BATCH: Final = 200
"""The most rows of one transaction."""

_LINES: Final = 2 * BATCH  # that are read at once: most requests have one when they begin, too

_MAX_BAD: Final = 4 * 1024 * 1024  # bytes of lines that are kept because they cannot be written
_REPORT: Final = 60.0  # seconds between two lines about them
_FORGET: Final = "DELETE FROM spool_position WHERE file = :file"

# What a line is guilty of, and not the disk or another process.
_POISON: Final = (
    *(sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError),
    *(sqlite3.ProgrammingError, OverflowError, UnicodeError),
)


class SpoolTransfer:
    """Moves the lines of all processes of a folder into a database; one thread uses it.

    now: returns the time, in milliseconds since 1970.
    day_of: returns the local day of such a time.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        folder: Path,
        *,
        detail: Detail = "rows",
        now: Callable[[], int],
        day_of: Callable[[int], str],
    ) -> None:
        self._connection = connection
        self._folder = folder
        self._now, self._day_of = now, day_of
        self._batch = BatchWriter(connection, detail=detail)
        positions = connection.execute("SELECT file, read_to FROM spool_position").fetchall()
        self._reader = SpoolReader(folder, dict(positions))
        self._set_aside = 0
        self._next_report = float("-inf")

    def set_detail(self, detail: Detail) -> None:
        """Keep rows and sums from now on, or sums only."""
        self._batch.detail = detail

    def tidy(self) -> None:
        """Forget files that are gone, and remove locks that nothing uses.

        Raises OSError and sqlite3.Error.
        """
        self._forget(self._reader.forgettable())
        remove_unused_locks(self._folder)

    def unread(self) -> int:
        """Return how many bytes of the spools are not in the database yet. Raises OSError."""
        return self._reader.unread()

    def transfer(self) -> bool:
        """Move one batch of lines; return whether there may be more at once.

        Raises OSError and sqlite3.Error; what was not moved stays in the spool.
        """
        found = self._reader.read(_LINES)
        time.sleep(0)  # lets the event loop have the interpreter
        if found.lines:
            self._write(found.lines)
        if found.finished:
            # What is deleted must be on the disk, and not only in the log of the database.
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._reader.remove(found.finished)
            self._forget(found.finished)
        ended = [self._end_process(process) for process in found.idle]
        return found.more or any(ended)

    def _write(self, lines: Sequence[RawLine]) -> None:
        """Write lines in one transaction, or in halves if one of them cannot be written."""
        ids = [id_of_ended(line.raw) for line in lines]
        rows = [index for index, row_id in enumerate(ids) if row_id]
        if len(rows) > BATCH:
            self._write(lines[: rows[BATCH]])
            self._write(lines[rows[BATCH] :])
            return
        time.sleep(0)  # lets the event loop have the interpreter, as below
        positions = {line.file: line.end for line in lines}
        decoded: list[tuple[str, SpoolLine]] = []
        lost: list[tuple[str, str]] = []
        bad: list[RawLine] = []
        # Most requests begin and end in one batch. Of these, only the end need be read.
        ended = {row_id for row_id in ids if row_id}
        both = set()
        for index, line in enumerate(lines):
            if index % 128 == 127:
                time.sleep(0)
            if (row_id := id_of_began(line.raw)) in ended:
                both.add(row_id.decode("ascii", "replace"))
                continue
            try:
                decoded.append((line.process, decode_line(line.raw)))
            except (msgspec.MsgspecError, UnicodeError, RecursionError):
                if not line.raw.endswith(CUT_MARK):
                    bad.append(line)
                    lost.append((self._day_of(self._now()), ""))
        try:
            self._batch.write(decoded, positions, now=self._now(), lost=lost, begun=both)
        except _POISON:
            if len(lines) == 1:
                self._write_lost(lines[0], decoded)
                return
            middle = len(lines) // 2
            self._write(lines[:middle])
            self._write(lines[middle:])
            return
        for line in bad:
            self._keep_bad(line.raw, line.file, "it is no line of the ledger")
        self._reader.moved(positions)

    def _write_lost(self, line: RawLine, decoded: list[tuple[str, SpoolLine]]) -> None:
        """Count the row of a line that the database refuses, and keep the line in a file."""
        process, content = decoded[0]
        lines: list[tuple[str, SpoolLine]] = []
        if isinstance(content, LedgerRow):
            lines = [(process, LostRows(content.day, content.key, 1, [content.id]))]
        positions = {line.file: line.end}
        self._batch.write(lines, positions, now=self._now())
        self._keep_bad(line.raw, line.file, "the database refuses it")
        self._reader.moved(positions)

    def _keep_bad(self, raw: bytes, file: str, reason: str) -> None:
        """Keep a line for the operator. If that fails too, it is counted all the same."""
        self._set_aside += 1
        try:
            folder = self._folder / "bad"
            folder.mkdir(mode=0o700, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(folder / "lines.jsonl", flags, 0o600)
            try:
                if os.fstat(descriptor).st_size < _MAX_BAD:
                    os.write(descriptor, raw + b"\n")
            finally:
                os.close(descriptor)
        except OSError:
            pass
        if time.monotonic() >= self._next_report:
            self._next_report = time.monotonic() + _REPORT
            _log.error("ledger_line_set_aside", count=self._set_aside, file=file, reason=reason)
            self._set_aside = 0

    def _end_process(self, process: str) -> bool:
        """Finish the spool of a process that has ended; return whether it has more lines."""
        with held_if_gone(self._folder, process) as gone:
            if not gone:
                return False
            if self._reader.has_lines(process):  # it wrote them before it ended
                return True
            self._count_cut_line(process)
            crashed = self._end_crashed(process)
            if crashed:
                _log.warning("ledger_requests_crashed", process=process, count=crashed)
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._forget(self._reader.remove_process(process))
        return False

    def _count_cut_line(self, process: str) -> None:
        """Count the row of a line that its process could not write to the end.

        A request of which the beginning was written gets a row as crashed, so it is not lost.
        """
        rest = self._reader.cut_end(process).rstrip(CUT_MARK + b"\n")
        if not rest:
            return
        row_id = rest.partition(b'"id":"')[2].partition(b'"')[0].decode("ascii", "replace")
        known = self._connection.execute("SELECT 1 FROM began WHERE id = ?", (row_id,))
        if known.fetchone() is None:
            place = self._day_of(self._now()), ""
            file, end = self._reader.end_of(process)
            self._batch.write([], {file: end}, now=self._now(), lost=[place])
            self._reader.moved({file: end})

    def _end_crashed(self, process: str) -> int:
        total, count = 0, BATCH
        while True:
            try:
                found = self._batch.end_crashed(process, now=self._now(), count=count)
            except _POISON:
                if count > 1:
                    count = 1
                    continue
                self._batch.drop_crashed(process, now=self._now())
                found, count = 1, BATCH
            total += found
            if not found:
                return total

    def _forget(self, names: Sequence[str]) -> None:
        """Forget the positions of files, after the files are removed.

        The other way round, lines would count twice if the process ended between the two.
        """
        if names:
            with transaction(self._connection):
                for name in names:
                    self._connection.execute(_FORGET, {"file": name})
            self._reader.forget(list(names))
