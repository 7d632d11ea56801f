"""Each fault of the upstream, at each moment: the right error, in time, nothing left behind."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.fitten.model_catalog import ModelCatalog
from tests import support
from tests.faults.connections import HOST
from tests.faults.dialects import CHAT, TEXT, dialects_at
from tests.faults.resources import HeldSlots, descriptors, held_slots
from tests.faults.scenario import USERS, FaultAnswer, FaultScenario, fault_scenario
from tests.faults.table import (
    CELLS,
    LIMITED,
    SERVED,
    ErrorOutcome,
    FaultCell,
    Outcome,
    next_outcome,
)
from tests.faults.upstream import Moment
from tests.waiting import LONGEST_WAIT, eventually

BUILT_IN = [model.id for model in ModelCatalog().models]
PRIVATE = ("made up", "nginx", "<html", '"detail"', "elsewhere", "127.", HOST, "u_1", *USERS)


def cells() -> list[Any]:
    """Return every cell; those of chats once for each `chat_client`.

    The clients differ below the dialects, so one dialect is enough for the second.
    """
    return [
        pytest.param(fault, moment, outcome, client, id=f"{fault.name}-{moment}-{client}")
        for fault, moment, outcome in CELLS
        for client in (("lean", "aiohttp") if moment in ("before", "after") else ("lean",))
    ]


@pytest.mark.parametrize(("fault", "moment", "outcome", "client"), cells())
async def test_a_fault_is_the_documented_error_and_leaves_nothing_behind(
    fault: FaultCell,
    moment: Moment,
    outcome: Outcome,
    client: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(support, "chat_client", client)
    open_at_first = await descriptors()
    async with fault_scenario(fault, moment, tmp_path, monkeypatch) as scenario:
        await asyncio.sleep(0.001)  # what the gateway does by itself has begun
        tasks = asyncio.all_tasks()
        dialects = dialects_at(moment) if client == "lean" else (CHAT,)
        asked = scenario.ask_in_turn() if moment == "second" else scenario.ask_all(dialects)
        answers = await asyncio.wait_for(asked, LONGEST_WAIT)
        check(answers[0], moment, outcome)
        if moment == "second" and outcome == LIMITED:
            outcome = SERVED  # in its pause the account is not asked again
        for answer in answers[1:]:
            check(answer, moment, outcome)
        count_calls(scenario, outcome, len(answers))
        await scenario.over()
        scenario.repair()
        await eventually(lambda: held_slots(scenario.gateway) == HeldSlots(0, 0, 0))
        await eventually(lambda: asyncio.all_tasks() - tasks <= scenario.fitten.tasks)
        await check_what_follows(scenario, outcome)
        assert not scenario.names, "no redirect is followed"
    await eventually(lambda: asyncio.all_tasks() == {asyncio.current_task()})
    assert await descriptors() == open_at_first


async def check_what_follows(scenario: FaultScenario, outcome: Outcome) -> None:
    """Check that no broken connection is used again, and that a paused account is reported."""
    if scenario.moment == "models":
        assert await scenario.models() == BUILT_IN
    if not isinstance(outcome, ErrorOutcome):
        return
    following = next_outcome(scenario.moment, outcome)
    if following == SERVED and not scenario.repairable:
        following = outcome
    calls = scenario.fitten.calls.copy()
    answer = await scenario.ask(stream=False)
    check(answer, "before", following)
    if isinstance(following, ErrorOutcome) and scenario.repairable:
        assert scenario.fitten.calls == calls, "no account is asked in its pause"
        assert not following.retryable or int(answer.headers["Retry-After"]) >= 1


def check(answer: FaultAnswer, moment: Moment, outcome: Outcome) -> None:
    """Check that the answer is what the table says, in the words of its dialect."""
    dialect, stream, status, headers, raw = answer
    shown = (raw.decode() + str(dict(headers))).lower()
    assert not [word for word in PRIVATE if word in shown]
    if not isinstance(outcome, ErrorOutcome):
        assert status == 200, raw
        if stream:
            dialect.check_stream(raw)
        return
    row = outcome.row
    if moment == "after" and stream:
        assert status == 200, raw
        assert TEXT.encode() in raw, "what came is delivered"
        assert dialect.read_failure(raw) == dialect.failure_words(row)
    else:
        assert status == dialect.shown(row)[0], raw
        assert dialect.read_error(raw, headers) == dialect.words(row)
        dialect.check_retry(headers, row)


def count_calls(scenario: FaultScenario, outcome: Outcome, requests: int) -> None:
    """Check the number of upstream calls of so many requests, which share one login."""
    if not isinstance(outcome, ErrorOutcome) or isinstance(scenario.fault.cause, str):
        return
    calls = scenario.fitten.calls[scenario.call]
    most = outcome.calls * (1 if scenario.moment == "login" else requests)
    if outcome.calls < 3:
        assert calls == most, scenario.fitten.calls
    assert calls <= most, scenario.fitten.calls
