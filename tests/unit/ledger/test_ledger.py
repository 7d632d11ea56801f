"""The ledger of a process says whether it loses rows; without a store there is none."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from gateway.ledger.ledger import Ledger
from gateway.ledger.spool import Spool
from tests.unit.ledger.support import began, row


def test_a_ledger_is_degraded_while_its_disk_takes_no_lines(tmp_path: Path) -> None:
    full = False

    def write(descriptor: int, data: bytes) -> int:
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(descriptor, data)

    seconds = 0.0
    spool = Spool(tmp_path, "main", write=write, clock=lambda: seconds)
    ledger = Ledger(spool)
    spool.began(began())
    assert not ledger.degraded
    full = True
    spool.ended(row())
    assert (ledger.degraded, ledger.lost) == (True, 1)
    full, seconds = False, 60.0
    assert not ledger.degraded
    ledger.close()


def test_a_ledger_is_degraded_while_others_cannot_write() -> None:
    assert Ledger(fault=lambda: "the database is locked").degraded
    assert not Ledger().degraded


def test_without_a_store_nothing_is_kept() -> None:
    ledger = Ledger()
    ledger.close()
    assert (ledger.spool, ledger.lost) == (None, 0)
