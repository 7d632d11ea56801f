"""Faults that pass, and time limits that hold over several calls."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.faults.table import HEADS, SILENCES, Fault
from tests.faults.test_faults import ask, asked, faulty
from tests.faults.upstream import Moment
from tests.front_door.peer import eventually

STALL = next(fault for fault in SILENCES if fault.name == "stall")


@pytest.mark.parametrize("moment", ["login", "completion", "version", "before"])
@pytest.mark.parametrize("fault", HEADS[:2], ids=lambda fault: fault.name)
async def test_a_connection_that_is_lost_once_costs_the_caller_nothing(
    fault: Fault, moment: Moment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with faulty(fault, moment, tmp_path, monkeypatch, times=1) as (gateway, fitten):
        status, _, raw = await ask(gateway, *asked(moment))
        assert status == 200, raw
        assert fitten.calls["chat" if moment == "before" else moment] == 2


async def test_the_wait_for_the_first_piece_counts_the_renewal_of_the_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = {"timeouts": {"call": 30.0, "first_piece": 0.2}}
    monkeypatch.setattr("tests.faults.test_faults.limits_for", lambda *_: limits)
    async with faulty(STALL, "refresh", tmp_path, monkeypatch) as (gateway, fitten):
        started = time.monotonic()
        status, _, raw = await ask(gateway, *asked("before"))
        assert (status, b"upstream_timeout" in raw) == (504, True)
        assert time.monotonic() - started < 1.0
        assert fitten.failing == 1  # the renewal goes on, for those who come later
    await eventually(lambda: not fitten.failing)
