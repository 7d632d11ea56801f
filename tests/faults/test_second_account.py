"""No client notices an account whose login fails, as long as another account works."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.scenario import fault_scenario
from tests.faults.table import BODIES_200, HEADS, SILENCES, STATUSES, ErrorOutcome, FaultCell
from tests.integration.peer import eventually

FAULTS = [
    *(fault for fault in STATUSES if "JSON" in fault.name),
    *(HEADS[0], SILENCES[0], BODIES_200[0]),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_clients_are_served_by_the_account_that_works(
    fault: FaultCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fault_scenario(fault, "login", tmp_path, monkeypatch, second=True) as scenario:
        assert (await scenario.ask(stream=True)).status == 200, "while the login is under way"
        scenario.go()
        outcome, calls = fault.login, scenario.fitten.calls
        assert isinstance(outcome, ErrorOutcome)
        await eventually(lambda: calls["login"] == outcome.calls)
        await scenario.over()
        for stream in (True, False, True):
            assert (await scenario.ask(stream=stream)).status == 200
        assert calls["login"] == outcome.calls, "no request makes it try again"
