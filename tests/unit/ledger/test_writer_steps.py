"""The thread of the writer lets the event loop have the interpreter after little work."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from gateway.ledger.writer import BATCH
from tests.unit.ledger.support import Books, began, books, row

MOST = 900
"""Calls without a break, of a microsecond at most: less than a millisecond."""


def steps_of(ledger: Books) -> list[int]:
    """Return the calls between two breaks of one batch: those give the interpreter's lock away."""
    steps = [0]
    breaks: set[Any] = {time.sleep}

    def seen(_: FrameType, event: str, function: Any) -> None:
        if event not in ("call", "c_call"):
            return
        if event == "c_call" and (
            function in breaks or getattr(function, "__name__", "") == "execute"
        ):
            steps.append(0)
        steps[-1] += 1

    sys.setprofile(seen)
    try:
        ledger.mover.transfer()
    finally:
        sys.setprofile(None)
    return steps


@pytest.mark.parametrize("keys", [1, 60], ids=["one key", "sixty keys"])
@pytest.mark.parametrize("lines", ["begun and ended", "begun", "ended"])
def test_a_batch_is_written_in_short_steps(tmp_path: Path, lines: str, keys: int) -> None:
    with books(tmp_path / "team.db") as ledger:
        spool = ledger.spool()
        for number in range(BATCH):
            begun = began(key=f"key-{number % keys}", request_id="req_" + "a" * 32)
            if "begun" in lines:
                spool.began(begun)
            if "ended" in lines:
                spool.ended(row(id=begun.id, key=begun.key, request_id=begun.request_id))
        steps = steps_of(ledger)
        assert max(steps) <= MOST, steps
        assert sum(steps) > 2 * MOST  # so that the breaks are what makes them short
