"""Runs the thread that writes the ledger: in the single process, or in the master of workers."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from gateway.ledger.batch import Detail
from gateway.ledger.retention import delete_old_buckets, delete_old_rows, give_back_space
from gateway.ledger.seeds import LedgerSeeds, read_seeds
from gateway.ledger.spool_files import spool_folder
from gateway.ledger.writer import SpoolTransfer
from gateway.ledger.writer_lock import writer_lock
from gateway.store.database import (
    StoreUnusable,
    connect_reader,
    connect_writer,
    is_lasting,
    store_error_text,
)
from gateway.store.migrations import migrate

_log = structlog.get_logger("ledger")

STOP_TIMEOUT: Final = 5.0
"""The most seconds that a stop gives the writer; what is left is written at the next start."""

_POLL: Final = 0.25  # seconds until a spool is looked at again
_PAUSE: Final = 0.02  # seconds between two batches of deleted rows
_FIRST_RETRY, _LAST_RETRY = 0.5, 30.0
_RETENTION_EVERY: Final = 3600.0
_RETENTION_LONGEST: Final = 30.0


@dataclass(frozen=True, slots=True)
class LedgerPolicy:
    """Sets what is kept: rows and sums, or sums only, and rows for how many days."""

    detail: Detail = "rows"
    keep_days: int = 90


def local_day(at: int) -> str:
    """Return the day of a time in milliseconds, in the system's time zone."""
    return time.strftime("%Y-%m-%d", time.localtime(at / 1000))


def _now() -> int:
    return time.time_ns() // 1_000_000


class LedgerService:
    """Writes the lines of every process of a node into the database, in a thread.

    path: the database; the spool is in a folder beside it.
    now: returns the time, in milliseconds since 1970.
    day_of: returns the local day of such a time, in the gateway's time zone.

    If the database fails, the spool grows and the thread tries again.
    """

    def __init__(
        self,
        path: Path,
        policy: LedgerPolicy | None = None,
        *,
        now: Callable[[], int] = _now,
        day_of: Callable[[int], str] = local_day,
    ) -> None:
        self._path = path
        self._policy = policy or LedgerPolicy()
        self._now, self._day_of = now, day_of
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._deadline = float("inf")
        self._thread: threading.Thread | None = None
        self._waiting = False
        self._next_retention = 0.0
        self._retention_ends = 0.0
        self._deleted = 0
        self.problem: str | None = None

    @property
    def spool_folder(self) -> Path:
        """Return the folder that each process writes its spool to."""
        return spool_folder(self._path)

    def prepare(self, *, longest: float = 10.0, required: bool = False) -> LedgerSeeds:
        """Prepare the database, and return what the counters of limits begin with.

        Lines that former processes left are written first, for `longest` seconds at most; it
        blocks, so call it in a thread. Raises StoreUnusable if the database must not be used,
        such as a newer one. If it is `required`, so does a fault that will not go away, such as
        a folder that must not be written. Other failures are logged. The seeds are then what can
        be read.
        """
        try:
            return self._prepare(longest)
        except (sqlite3.Error, OSError) as error:
            if required and is_lasting(error):
                text = store_error_text(error)
                raise StoreUnusable(f"{self._path} cannot be used: {text}") from None
            self._show_problem(error, 0.0)
        try:
            return self._read_seeds()
        except (sqlite3.Error, OSError):
            return LedgerSeeds()

    def _prepare(self, longest: float) -> LedgerSeeds:
        try:
            with self._writing() as connection:
                transfer = self._transfer(connection)
                until = time.monotonic() + longest
                while transfer.transfer() and time.monotonic() < until:
                    pass
                return read_seeds(connection, now=self._now(), day_of=self._day_of)
        except BlockingIOError:  # a gateway that has not stopped yet writes the rest
            return self._read_seeds()

    def _read_seeds(self) -> LedgerSeeds:
        with contextlib.closing(connect_reader(self._path)) as reader:
            return read_seeds(reader, now=self._now(), day_of=self._day_of)

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    def set_policy(self, policy: LedgerPolicy) -> None:
        """Keep what a reload says, from the next batch on."""
        self._policy = policy

    def stop(self, timeout: float = STOP_TIMEOUT) -> bool:
        """Write what is left, for at most so many seconds; return whether the thread has ended.

        Close the spools of this process before. It blocks: call it in a thread.
        """
        self._deadline = time.monotonic() + timeout
        self._stopping.set()
        self._wake.set()
        if self._thread is None:
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        retry = _FIRST_RETRY
        while True:
            try:
                with self._writing() as connection:
                    transfer = self._transfer(connection)
                    transfer.tidy()
                    while self._step(connection, transfer):
                        retry = _FIRST_RETRY
                return
            except BlockingIOError:  # another process writes, lines of this one too
                if not self._waiting:
                    self._waiting = True
                    _log.warning("ledger_has_other_writer", file=str(self._path))
                wait = 1.0
            except (sqlite3.Error, OSError, StoreUnusable) as error:
                wait = retry * random.uniform(0.8, 1.2)
                self._show_problem(error, wait)
                retry = min(2 * retry, _LAST_RETRY)
            if self._stopping.is_set() and time.monotonic() + wait >= self._deadline:
                return
            self._wake.wait(wait)
            self._wake.clear()

    def _step(self, connection: sqlite3.Connection, transfer: SpoolTransfer) -> bool:
        """Move a batch, or delete some old rows; return whether the thread goes on."""
        transfer.set_detail(self._policy.detail)
        more = transfer.transfer()
        if self.problem is not None:
            self.problem = None
            _log.info("ledger_written")
        if self._stopping.is_set():
            return more and time.monotonic() < self._deadline
        pause = 0.0 if more else _POLL
        if self._delete_some(connection):
            pause = min(pause, _PAUSE)
        if pause:
            self._wake.wait(pause)
        return True

    def _delete_some(self, connection: sqlite3.Connection) -> bool:
        """Delete a few rows if it is time; return whether there are more to be deleted."""
        now = time.monotonic()
        if now < self._next_retention:
            return False
        if not self._retention_ends:
            self._retention_ends = now + _RETENTION_LONGEST
            delete_old_buckets(connection, now=self._now())
        keep = self._policy.keep_days
        deleted = delete_old_rows(connection, now=self._now(), keep_days=keep)
        self._deleted += deleted
        if deleted and now < self._retention_ends:
            return True
        if self._deleted:
            give_back_space(connection)
            _log.info("ledger_rows_deleted", count=self._deleted)
        self._deleted, self._retention_ends = 0, 0.0
        self._next_retention = now + _RETENTION_EVERY
        return False

    def _transfer(self, connection: sqlite3.Connection) -> SpoolTransfer:
        return SpoolTransfer(
            connection,
            self.spool_folder,
            detail=self._policy.detail,
            now=self._now,
            day_of=self._day_of,
        )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Hold the lock of the one writer of this database, and a connection.

        Raises BlockingIOError if another process holds the lock.
        """
        with writer_lock(self._path):
            self._waiting = False
            with contextlib.closing(connect_writer(self._path)) as connection:
                steps, saved = migrate(connection, self._path, now=self._now())
                if steps:
                    backup = None if saved is None else str(saved)
                    _log.info("store_migrated", file=str(self._path), steps=steps, backup=backup)
                yield connection

    def _show_problem(self, error: Exception, next_try_in: float) -> None:
        """Log why nothing can be written, once until it can be again."""
        if self.problem is None:
            reason = str(error) if isinstance(error, StoreUnusable) else store_error_text(error)
            self.problem = reason
            _log.error("ledger_not_written", reason=reason, next_try_in=round(next_try_in, 1))
