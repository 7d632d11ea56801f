"""Each fault of the upstream, at each moment: what is told, in time, with nothing left."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.fitten.model_catalog import ModelCatalog
from tests import support
from tests.faults.connections import HOST
from tests.faults.leftovers import Held, descriptors, held
from tests.faults.stage import USERS, FaultAnswer, FaultStage, staged
from tests.faults.table import CELLS, LIMITED, SERVED, FaultCell, Outcome, Told, next_outcome
from tests.faults.upstream import Moment
from tests.support import frames
from tests.waiting import LONGEST_WAIT, eventually

BUILT_IN = [model.id for model in ModelCatalog().models]
PRIVATE = ("made up", "nginx", "<html", '"detail"', "elsewhere", "127.", HOST, "u_1", *USERS)


def cells() -> list[Any]:
    """Every cell, those of a chat for both ways of reading its bytes."""
    return [
        pytest.param(fault, moment, outcome, client, id=f"{fault.name}-{moment}-{client}")
        for fault, moment, outcome in CELLS
        for client in (("lean", "aiohttp") if moment in ("before", "after") else ("lean",))
    ]


@pytest.mark.parametrize(("fault", "moment", "outcome", "client"), cells())
async def test_a_fault_is_told_as_documented_and_leaves_nothing(
    fault: FaultCell,
    moment: Moment,
    outcome: Outcome,
    client: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(support, "chat_client", client)
    open_at_first = await descriptors()
    async with staged(fault, moment, tmp_path, monkeypatch) as stage:
        await asyncio.sleep(0.001)  # what the gateway does by itself has begun
        tasks = asyncio.all_tasks()
        ask = stage.ask_in_turn if moment == "second" else stage.ask_twice
        stream, whole = await asyncio.wait_for(ask(), LONGEST_WAIT)
        check(stream, moment, outcome, stream=True)
        if moment == "second" and outcome == LIMITED:
            outcome = SERVED  # in its pause the account is not asked again
        check(whole, moment, outcome, stream=False)
        count_calls(stage, outcome)
        await stage.over()
        stage.mend()
        await eventually(lambda: held(stage.gateway) == Held(0, 0, 0))
        await eventually(lambda: asyncio.all_tasks() - tasks <= stage.fitten.tasks)
        await check_what_follows(stage, outcome)
        assert not stage.names, "no redirect is followed"
    await eventually(lambda: asyncio.all_tasks() == {asyncio.current_task()})
    assert await descriptors() == open_at_first


async def check_what_follows(stage: FaultStage, outcome: Outcome) -> None:
    """Nothing broken went back to the pool of connections; an account that pauses says so."""
    if stage.moment == "models":
        assert await stage.models() == BUILT_IN
    if not isinstance(outcome, Told):
        return
    following = next_outcome(stage.moment, outcome)
    if following == SERVED and not stage.mendable:
        following = outcome
    calls = stage.fitten.calls.copy()
    answer = await stage.ask(stream=False)
    check(answer, "before", following, stream=False)
    if isinstance(following, Told) and stage.mendable:
        assert stage.fitten.calls == calls, "no account is asked in its pause"
        assert not following.again or int(answer.headers["Retry-After"]) >= 1


def check(answer: FaultAnswer, moment: Moment, outcome: Outcome, *, stream: bool) -> None:
    """Whether this is what the table says."""
    status, headers, raw = answer
    shown = (raw.decode() + str(dict(headers))).lower()
    assert not [word for word in PRIVATE if word in shown]
    if not isinstance(outcome, Told):
        assert status == 200, raw
        if stream:
            assert frames(raw)[-1] == "[DONE]"
        return
    if moment == "after" and stream:
        assert status == 200, raw
        *earlier, last = frames(raw)
        assert earlier
        assert "[DONE]" not in earlier
        assert all(frame["choices"][0]["finish_reason"] is None for frame in earlier)
        assert b"Hello, " in raw
    else:
        last = json.loads(raw)
        assert (status, last["error"]["code"]) == (outcome.status, outcome.code), raw
        assert headers["x-should-retry"] == str(outcome.again).lower()
    assert set(last) == {"error"}
    assert set(last["error"]) == {"message", "type", "param", "code"}
    assert last["error"]["code"] == outcome.code


def count_calls(stage: FaultStage, outcome: Outcome) -> None:
    """Two requests were made; the login is one for both."""
    if not isinstance(outcome, Told) or isinstance(stage.fault.play, str):
        return
    calls = stage.fitten.calls[stage.call]
    most = outcome.calls * (1 if stage.moment == "login" else 2)
    if outcome.calls < 3:
        assert calls == most, stage.fitten.calls
    assert calls <= most, stage.fitten.calls
