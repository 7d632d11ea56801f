"""Faults that pass or last, and time limits that hold over several calls."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.faults.responses import status_response
from tests.faults.scenario import fault_scenario
from tests.faults.table import CONNECTIONS, HEADS, SILENCES, FaultCell
from tests.faults.upstream import Moment
from tests.waiting import NEVER, eventually

STALL = next(fault for fault in SILENCES if fault.name == "stall")
REFUSED = CONNECTIONS[0]


@pytest.mark.parametrize("moment", ["login", "completion", "version", "before"])
@pytest.mark.parametrize("fault", HEADS[:2], ids=lambda fault: fault.name)
async def test_the_client_does_not_notice_a_connection_that_is_lost_once(
    fault: FaultCell, moment: Moment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default retry budget is enough for that."""
    async with fault_scenario(fault, moment, tmp_path, monkeypatch, times=1, pool={}) as scenario:
        scenario.go()
        answer = await scenario.ask(stream=False)
        assert answer.status == 200, answer.raw
        assert scenario.fitten.calls[scenario.call] == 2


@pytest.mark.parametrize("moment", ["completion", "before"])
async def test_without_a_retry_budget_a_lost_connection_is_an_error(
    moment: Moment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = {"retry_ratio": 0}
    async with fault_scenario(
        HEADS[0], moment, tmp_path, monkeypatch, times=1, pool=pool
    ) as scenario:
        scenario.go()
        assert (await scenario.ask(stream=False)).status == 502
        assert scenario.fitten.calls[scenario.call] == 1


async def test_the_wait_for_the_first_piece_counts_the_renewal_of_the_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = {"call": NEVER, "first_piece": 1.0}
    async with fault_scenario(STALL, "refresh", tmp_path, monkeypatch, timeouts=limits) as scenario:
        scenario.go()
        answer = await scenario.ask(stream=True)
        assert (answer.status, b"upstream_timeout" in answer.raw) == (504, True)
        assert scenario.fitten.failing == 1  # the renewal goes on, for later requests
    await eventually(lambda: not scenario.fitten.failing)


async def test_each_client_gets_the_error_until_the_account_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = {"breaker_pause": 50}
    async with fault_scenario(REFUSED, "before", tmp_path, monkeypatch, pool=pool) as scenario:
        scenario.go()
        answers = [await scenario.ask(stream=number % 2 == 0) for number in range(7)]
        assert [answer.status for answer in answers] == [502] * 5 + [503] * 2
        assert scenario.resolver is not None
        assert scenario.resolver.asked == 5, "nobody is asked in the pause"
        error = json.loads(answers[-1].raw)["error"]
        assert error["code"] == "no_account_available"
        assert "cannot be reached" in error["message"]
        assert 40 <= int(answers[-1].headers["Retry-After"]) <= 60


async def test_calls_stay_within_the_budget_through_real_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fifth of all connections is refused, a tenth of all answers is 503."""
    chance = random.Random(2)
    pool = {"breaker_failures": 0}
    async with fault_scenario(
        REFUSED, "second", tmp_path, monkeypatch, times=10**9, pool=pool
    ) as scenario:
        resolver, fitten = scenario.resolver, scenario.fitten
        assert resolver is not None
        resolver.times = 10**9
        resolver.applies = lambda: chance.random() < 0.2
        fitten.user, fitten.moment = "", "chat"
        fitten.fault = status_response(503, b"", b"Connection: close\r\n")
        fitten.applies = lambda: chance.random() < 0.125  # of those that are connected
        fitten.keeps = False
        scenario.go()
        failed = 0
        for number in range(1, 251):
            failed += (await scenario.ask(stream=number % 2 == 0)).status != 200
            if number >= 5:
                assert resolver.asked <= 1.2 * number
        assert resolver.asked > 1.15 * 250, "the budget is used"
        assert failed / 250 < 0.2, "without repeats it would be 0.3"
