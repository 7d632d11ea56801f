"""The path of a request writes to a spool, or to nothing."""

from __future__ import annotations

from pathlib import Path

from gateway.ledger.ledger import Ledger
from tests.unit.ledger.support import began, books, row


def test_rows_of_refused_requests_can_be_switched_off(tmp_path: Path) -> None:
    with books(tmp_path / "team.db") as files:
        ledger = Ledger(files.spool(), refused=False)
        ledger.began(began())
        ledger.ended(row(refused=True, ended="rate_limit_exceeded"))
        ledger.ended(row())
        ledger.refused = True
        ledger.ended(row(refused=True, ended="rate_limit_exceeded"))
        files.transfer()
        assert files.select("SELECT refused FROM request ORDER BY refused") == [(0,), (1,)]
        assert (ledger.kept, ledger.lost) == (True, 0)
        ledger.close()


def test_without_a_store_nothing_is_written() -> None:
    ledger = Ledger()
    ledger.began(began())
    ledger.ended(row())
    ledger.close()
    assert (ledger.kept, ledger.lost) == (False, 0)
