"""An account whose login fails costs nobody anything, as long as there is another."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.stage import staged
from tests.faults.table import BODIES_200, HEADS, SILENCES, STATUSES, FaultCell, Told
from tests.integration.peer import eventually

FAULTS = [
    *(fault for fault in STATUSES if "JSON" in fault.name),
    *(HEADS[0], SILENCES[0], BODIES_200[0]),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_callers_are_served_by_the_account_that_can(
    fault: FaultCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged(fault, "login", tmp_path, monkeypatch, second=True) as stage:
        assert (await stage.ask(stream=True)).status == 200, "while the login is under way"
        stage.go()
        told, calls = fault.login, stage.fitten.calls
        assert isinstance(told, Told)
        await eventually(lambda: calls["login"] == told.calls)
        await stage.over()
        for stream in (True, False, True):
            assert (await stage.ask(stream=stream)).status == 200
        assert calls["login"] == told.calls, "no request makes it try again"
