"""Any order of beginnings, ends, kills and restarts leaves each request as one row."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ledger.batch import Detail
from gateway.ledger.row import new_row_id
from gateway.ledger.spool import Spool
from tests.unit.ledger.support import Books, began, books, row

ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "begin", "end", "end", "refuse", "move", "kill", "restart"]),
        st.integers(0, 2),
    ),
    max_size=60,
)


class LedgerProcesses:
    """Three processes, what each has open, and how every request of theirs should end."""

    def __init__(self, ledger: Books) -> None:
        self.ledger = ledger
        self.spools = [self.new() for _ in range(3)]
        self.open: list[list[str]] = [[], [], []]
        self.ends: dict[str, str] = {}

    def new(self) -> Spool:
        return self.ledger.spool(file_size=1500)

    def act(self, action: str, number: int) -> None:
        spool, left = self.spools[number], self.open[number]
        if action == "begin":
            first = began()
            spool.began(first)
            left.append(first.id)
        elif action == "end" and left:
            self.ends[left[0]] = "complete"
            spool.ended(row(id=left.pop(0)))
        elif action == "refuse":
            refused = row(id=new_row_id(), ended="rate_limit_exceeded", refused=True)
            spool.ended(refused)
            self.ends[refused.id] = refused.ended
        elif action == "move":
            self.ledger.mover.transfer()
        elif action == "kill":
            self.kill(number)
            self.spools[number] = self.new()
        elif action == "restart":  # of the process that writes the database
            self.ledger.mover = self.ledger.new_transfer()

    def kill(self, number: int) -> None:
        self.spools[number].close()  # as the system does, which releases the lock too
        self.ends |= dict.fromkeys(self.open[number], "crashed")
        self.open[number] = []


@pytest.mark.parametrize("detail", ["rows", "days"])
@settings(max_examples=20)
@given(actions=ACTIONS)
def test_each_request_is_one_row_and_once_in_the_sums(
    detail: Detail, actions: list[tuple[str, int]]
) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        books(Path(folder) / "team.db", detail=detail) as ledger,
    ):
        processes = LedgerProcesses(ledger)
        for action, number in actions:
            processes.act(action, number)
        for number in range(3):
            processes.kill(number)
        ledger.transfer()
        ends = list(processes.ends.values())
        sums = ledger.select(
            "SELECT coalesce(sum(requests), 0), coalesce(sum(failed), 0),"
            " coalesce(sum(refused), 0) FROM usage_day"
        )
        refused = ends.count("rate_limit_exceeded")
        assert sums == [(len(ends) - refused, ends.count("crashed"), refused)]
        if detail == "rows":
            assert dict(ledger.select("SELECT id, ended FROM request")) == processes.ends
        assert ledger.one("SELECT count(*) FROM began") == 0
        assert ledger.one("SELECT count(*) FROM lost") == 0
        assert list(ledger.folder.iterdir()) == []
