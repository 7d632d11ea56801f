"""Writes lines about requests to a file that only this process appends to."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

import structlog

from gateway.ledger.row import Began, LedgerRow, LostRows, SpoolLine, encode_line
from gateway.ledger.spool_files import file_name, hold_process_lock, spool_files
from gateway.redaction import os_error_text

_log = structlog.get_logger("ledger")

CUT_MARK: Final = b"\x18"
"""Ends the rest of a line that did not fit on the disk and that was counted as lost already."""

FILE_SIZE: Final = 4 * 1024 * 1024
MAX_BYTES: Final = 64 * 1024 * 1024
MAX_LINE: Final = 16 * 1024

_COUNT_EVERY: Final = 256 * 1024  # bytes of its own after which a process counts all files again
_RETRY: Final = 1.0  # seconds until a full or missing folder is looked at again
_REPORT: Final = 60.0  # seconds between two lines about lost rows
_MOST_COUNTS: Final = 1000  # days and keys with rows of their own among the lost ones
_LONGEST_NAME: Final = 200
_MOST_IDS: Final = 100  # of one line; 35 bytes each


class Spool:
    """Writes lines to a folder with mode 0700: one file per process, one write per line.

    process: a name such as `main` or `worker-3`; the process's id and a random part follow.
    max_bytes: the most bytes of all processes' files; beyond it, lines are dropped and counted.
    write: os.write, unless a test replaces it.

    Methods are synchronous, never raise and never wait. They may be called by one thread only.
    A line that the disk does not take is dropped. It is counted by day and key, and the count is
    written as soon as the disk takes lines again.
    """

    def __init__(
        self,
        folder: Path,
        process: str,
        *,
        max_bytes: int = MAX_BYTES,
        file_size: int = FILE_SIZE,
        write: Callable[[int, bytes], int] = os.write,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.process = f"{process}-{os.getpid()}-{secrets.token_hex(4)}"
        self._folder = folder
        self._max_bytes, self._file_size, self._limit = max_bytes, file_size, file_size
        self._count_every = min(_COUNT_EVERY, max_bytes // 16)
        self._write, self._clock = write, clock
        self._file = self._lock = -1  # descriptors
        self._number = 0
        self._size = 0  # of the file
        self._others = 0  # bytes of all other files, as they were counted last
        self._since_count = 0  # bytes written since then
        self._free = 0  # bytes that can be appended before anything is looked at again
        self._cut = False  # whether the file ends within a line
        self._blocked_until: float | None = None
        self._lost: dict[tuple[str, str], LostRows] = {}
        self._open: set[str] = set()  # ids of requests whose beginning is in the spool
        self.lost = 0
        self._unreported = 0
        self._problem = ""
        self._next_report = float("-inf")
        self._closed = False
        with contextlib.suppress(OSError):
            self._prepare()

    @property
    def blocked(self) -> bool:
        """Return whether the last line was lost, since the disk or the spool was full."""
        return self._blocked_until is not None

    def began(self, began: Began) -> None:
        """Write that a request was admitted."""
        if self._write_line(began):
            self._open.add(began.id)

    def ended(self, row: LedgerRow) -> None:
        """Write the row of a request that has ended, or that was refused."""
        if self._write_line(row):
            self._open.discard(row.id)
            return
        known = row.id in self._open
        self._open.discard(row.id)
        self._count_lost(row.day, row.key, row.id if known else None)

    def flush_counts(self) -> bool:
        """Write the counts of lost rows, if there are any; return whether the disk takes lines."""
        return (not self._lost and not self.blocked) or self._put(b"")

    def close(self) -> None:
        """Write the counts of lost rows, and release the lock of this process."""
        self.flush_counts()
        self._closed = True
        self._free = 0
        if self._file >= 0:
            os.close(self._file)
        if self._lock >= 0:
            os.close(self._lock)
        self._file = self._lock = -1

    def _write_line(self, line: SpoolLine) -> bool:
        """Append a line; return whether the disk took it."""
        try:
            raw = encode_line(line) + b"\n"
        except Exception as error:  # half of a character, for example: only this row is lost
            self._problem = _reason(error)
            return False
        size = len(raw)
        if size > self._free or size > MAX_LINE:
            return self._put(raw)
        try:
            written = self._write(self._file, raw)
            if written != size:
                self._take_back(written)
        except OSError as error:
            self._block(error)
            return False
        self._size += size
        self._since_count += size
        self._free -= size
        return True

    def _put(self, raw: bytes) -> bool:
        """Append a line after the counts of lost rows; return whether the disk took both.

        Without a line, only the counts are written.
        """
        if self._closed or (
            self._blocked_until is not None and self._clock() < self._blocked_until
        ):
            return False
        if len(raw) > MAX_LINE:
            self._problem = os.strerror(errno.EMSGSIZE)
            return False
        try:
            self._make_room(len(raw))
            self._write_lost()
            if raw:
                self._append(raw)
        except OSError as error:
            self._block(error)
            return False
        self._blocked_until = None
        self._free = min(
            self._limit - self._size,
            self._count_every - self._since_count,
            self._max_bytes - self._others - self._size,
        )
        return True

    def _block(self, error: OSError) -> None:
        """Lose lines for a while, since the disk or the spool is full."""
        self._blocked_until = self._clock() + _RETRY
        self._problem = _reason(error)
        self._free = 0

    def _prepare(self) -> None:
        """Open the first file, after the lock that shows that this process lives."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._lock < 0:
            self._lock = hold_process_lock(self._folder, self.process)
        if self._file < 0:
            self._open_next()

    def _open_next(self) -> None:
        name = file_name(self.process, self._number + 1)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._folder / name, flags, 0o600)
        if self._file >= 0:
            os.close(self._file)
        self._file, self._size, self._cut = descriptor, 0, False
        self._number += 1
        self._count_bytes()

    def _count_bytes(self) -> None:
        files = spool_files(self._folder)
        mine = file_name(self.process, self._number)
        self._others = sum(file.size for file in files if file.name != mine)
        # Files are removed as a whole, so many processes need smaller ones under the bound.
        processes = len({file.process for file in files}) or 1
        self._limit = min(self._file_size, self._max_bytes // (4 * processes))
        self._since_count = 0

    def _make_room(self, needed: int) -> None:
        if self._file < 0:
            self._prepare()
        if self._size >= self._limit:
            try:
                self._open_next()
            except OSError:
                if self._size >= 2 * self._limit:
                    raise
        blocked = self._blocked_until is not None
        if self._since_count >= self._count_every or blocked:
            self._count_bytes()
        if self._others + self._size + needed > self._max_bytes:
            raise OSError(errno.EDQUOT, "the spool is full")

    def _append(self, raw: bytes) -> None:
        data = CUT_MARK + b"\n" + raw if self._cut else raw
        written = self._write(self._file, data)
        if written != len(data):
            self._take_back(written)
        self._cut = False
        self._size += written
        self._since_count += written

    def _take_back(self, written: int) -> NoReturn:
        """Cut off what was written of a line that did not fit. Raises OSError in any case.

        The reader takes no line without its end, so what is cut can be taken back.
        """
        try:
            os.ftruncate(self._file, self._size)
        except OSError:
            self._size += written
            self._cut = True
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _count_lost(self, day: str, key: str, row_id: str | None) -> None:
        self.lost += 1
        self._unreported += 1
        self._free = 0  # the counts come before the next line
        day, key = _clean(day), _clean(key)
        if (day, key) not in self._lost and len(self._lost) >= _MOST_COUNTS:
            key = ""
        known = self._lost.get((day, key))
        count = 1 if known is None else known.count + 1
        ids = ([] if known is None else known.ids) + ([row_id] if row_id else [])
        self._lost[day, key] = LostRows(day, key, count, ids)
        now = self._clock()
        if now >= self._next_report:
            self._next_report = now + _REPORT
            _log.warning("ledger_rows_lost", count=self._unreported, reason=self._problem)
            self._unreported = 0

    def _write_lost(self) -> None:
        for place, lost in list(self._lost.items()):
            ids = lost.ids
            while len(ids) > _MOST_IDS:
                part, ids = ids[:_MOST_IDS], ids[_MOST_IDS:]
                self._append(encode_line(LostRows(lost.day, lost.key, len(part), part)) + b"\n")
                lost = LostRows(lost.day, lost.key, lost.count - len(part), ids)
                self._lost[place] = lost
            self._append(encode_line(lost) + b"\n")
            del self._lost[place]


def _clean(name: object) -> str:
    """Return a name that can be written in any case: the row with it could not be."""
    return str(name)[:_LONGEST_NAME].encode("utf-8", "replace").decode("utf-8")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.EDQUOT:
        return "the spool is full"
    return os_error_text(error)
