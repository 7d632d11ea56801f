"""The same faults through Anthropic's Messages: its statuses, types and events."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.faults.resources import HeldSlots, held_slots
from tests.faults.scenario import FaultAnswer, FaultScenario, ask, fault_scenario
from tests.faults.table import CELLS, ErrorOutcome, FaultCell, Outcome
from tests.faults.test_faults import PRIVATE
from tests.faults.upstream import Moment
from tests.unit.apis.anthropic.test_messages_response import collected, parsed
from tests.waiting import LONGEST_WAIT, eventually

BODY: dict[str, Any] = {"max_tokens": 32_000, "messages": [{"role": "user", "content": "Hi"}]}
TYPES = {
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
CHATS = [
    pytest.param(fault, moment, outcome, id=f"{fault.name}-{moment}")
    for fault, moment, outcome in CELLS
    if moment in ("login", "before", "after")
]


@pytest.mark.parametrize(("fault", "moment", "outcome"), CHATS)
async def test_a_fault_is_shown_in_the_dialect(
    fault: FaultCell,
    moment: Moment,
    outcome: Outcome,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with fault_scenario(fault, moment, tmp_path, monkeypatch) as scenario:
        stream, whole = await asyncio.wait_for(ask_twice(scenario), LONGEST_WAIT)
        check(stream, moment, outcome, stream=True)
        check(whole, moment, outcome, stream=False)
        await scenario.over()
        await eventually(lambda: held_slots(scenario.gateway) == HeldSlots(0, 0, 0))


async def ask_twice(scenario: FaultScenario) -> tuple[FaultAnswer, FaultAnswer]:
    """Send a stream and a whole answer; both are under way when the fault happens."""
    gateway = scenario.gateway
    bodies = [{**BODY, "stream": stream} for stream in (True, False)]
    both = asyncio.gather(*(ask(gateway, "/v1/messages", body) for body in bodies))
    try:
        await eventually(lambda: sum(held_slots(gateway)) >= 2 or both.done())
        scenario.go()
    finally:
        stream, whole = await both
    return stream, whole


def check(answer: FaultAnswer, moment: Moment, outcome: Outcome, *, stream: bool) -> None:
    """Check that the answer is what the table says, in the words of this dialect."""
    status, headers, raw = answer
    shown = (raw.decode() + str(dict(headers))).lower()
    assert not [word for word in PRIVATE if word in shown]
    if not isinstance(outcome, ErrorOutcome):
        assert status == 200, raw
        if stream:
            collected(parsed(raw))
        return
    wanted = outcome.status
    if outcome.code == "no_account_available" and outcome.retryable:
        wanted = 529
    if moment == "after" and stream:
        assert status == 200, raw
        *earlier, last = parsed(raw)
        kinds = [event["type"] for event in earlier]
        assert kinds[:2] == ["message_start", "content_block_start"]
        assert set(kinds[2:]) == {"content_block_delta"}
        assert last.keys() == {"type", "error"}
    else:
        last = json.loads(raw)
        assert status == wanted, raw
        assert headers["x-should-retry"] == str(outcome.retryable).lower()
        assert last["request_id"] == headers["request-id"]
    assert last["type"] == "error"
    assert last["error"].keys() == {"type", "message"}
    assert last["error"]["type"] == TYPES[wanted]
