"""Faults that pass or last, and time limits that hold over several calls."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.faults.plays import status_play
from tests.faults.stage import staged
from tests.faults.table import CONNECTIONS, HEADS, SILENCES, FaultCell
from tests.faults.upstream import Moment
from tests.waiting import NEVER, eventually

STALL = next(fault for fault in SILENCES if fault.name == "stall")
REFUSED = CONNECTIONS[0]


@pytest.mark.parametrize("moment", ["login", "completion", "version", "before"])
@pytest.mark.parametrize("fault", HEADS[:2], ids=lambda fault: fault.name)
async def test_a_connection_that_is_lost_once_costs_the_caller_nothing(
    fault: FaultCell, moment: Moment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The budget of repeats that is usual is enough for that."""
    async with staged(fault, moment, tmp_path, monkeypatch, times=1, pool={}) as stage:
        stage.go()
        status, _, raw = await stage.ask(stream=False)
        assert status == 200, raw
        assert stage.fitten.calls[stage.call] == 2


@pytest.mark.parametrize("moment", ["completion", "before"])
async def test_without_a_budget_a_lost_connection_is_told(
    moment: Moment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = {"retry_ratio": 0}
    async with staged(HEADS[0], moment, tmp_path, monkeypatch, times=1, pool=pool) as stage:
        stage.go()
        assert (await stage.ask(stream=False)).status == 502
        assert stage.fitten.calls[stage.call] == 1


async def test_the_wait_for_the_first_piece_counts_the_renewal_of_the_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = {"call": NEVER, "first_piece": 1.0}
    async with staged(STALL, "refresh", tmp_path, monkeypatch, timeouts=limits) as stage:
        stage.go()
        status, _, raw = await stage.ask(stream=True)
        assert (status, b"upstream_timeout" in raw) == (504, True)
        assert stage.fitten.failing == 1  # the renewal goes on, for those who come later
    await eventually(lambda: not stage.fitten.failing)


async def test_each_caller_is_told_what_happened_until_the_account_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = {"breaker_pause": 50}
    async with staged(REFUSED, "before", tmp_path, monkeypatch, pool=pool) as stage:
        stage.go()
        answers = [await stage.ask(stream=number % 2 == 0) for number in range(7)]
        assert [answer.status for answer in answers] == [502] * 5 + [503] * 2
        assert stage.road is not None
        assert stage.road.asked == 5, "nobody is asked in the pause"
        told = json.loads(answers[-1].raw)["error"]
        assert told["code"] == "no_account_available"
        assert "cannot be reached" in told["message"]
        assert 40 <= int(answers[-1].headers["Retry-After"]) <= 60


async def test_calls_stay_within_the_budget_through_real_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fifth of all connections is refused, a tenth of all answers is 503."""
    chance = random.Random(2)
    pool = {"breaker_failures": 0}
    async with staged(REFUSED, "second", tmp_path, monkeypatch, times=10**9, pool=pool) as stage:
        road, fitten = stage.road, stage.fitten
        assert road is not None
        road.times = 10**9
        road.strikes = lambda: chance.random() < 0.2
        fitten.user, fitten.moment = "", "chat"
        fitten.fault = status_play(503, b"", b"Connection: close\r\n")
        fitten.strikes = lambda: chance.random() < 0.125  # of those that are connected
        fitten.keeps = False
        stage.go()
        failed = 0
        for number in range(1, 251):
            failed += (await stage.ask(stream=number % 2 == 0)).status != 200
            if number >= 5:
                assert road.asked <= 1.2 * number
        assert road.asked > 1.15 * 250, "the budget is used"
        assert failed / 250 < 0.2, "without repeats it would be 0.3"
