"""The flight recorder and the repair: each of the two chats is recorded by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.fitten.tools.record import AnswerRecord
from gateway.replay.reader import read_record
from gateway.replay.test_case import write_test_case
from tests.integration.apis.test_hybrid_tools import BEGUN, REST, ask
from tests.integration.scripted_fitten import ScriptedFitten, running_fitten
from tests.integration.service.test_recorder import MIDDLEWARES, Records, records
from tests.support import KEY, Gateway, running_gateway
from tests.unit.replay.test_test_case import passes

__all__ = ["records"]

BAD = "<call-%V% Edti>\n{}\n</call-%V%>\n"

Running = Callable[..., AbstractAsyncContextManager[tuple[ScriptedFitten, Gateway]]]


@pytest.fixture
def running(tmp_path: Path, records: Records) -> Running:
    """Run a gateway that records and repairs; at its end, all records are written."""

    @asynccontextmanager
    async def run(*answers: Sequence[Any], repair: bool = True) -> Any:
        options = {"recorder": {"folder": str(records.path)}, "repair": repair}
        async with (
            running_fitten() as (fitten, url),
            running_gateway(url, tmp_path, tools=options, middlewares=MIDDLEWARES) as gateway,
        ):
            gateway.http.headers["Authorization"] = f"Bearer {KEY}"
            fitten.answers += answers
            yield fitten, gateway

    return run


def by_part(records: Records) -> list[AnswerRecord]:
    """Return the records, the first part first; each of them is read as it was then."""
    found = sorted(records.all(), key=lambda record: record.part)
    for record in found:
        reading = read_record(record)
        assert reading.same, (record, reading)
        passes(write_test_case(record, reading))
    return found


@pytest.mark.parametrize(
    ("answers", "fault", "came_out"),
    [
        ([["Now.\n" + BEGUN], [REST]], "cut", ["content", "call", "arguments"]),
        ([["Now.\n<call-%V% Ed"], ["it>\n{}\n</call-%V%>"]], "cut", ["content"]),
        ([["Now.\n", BAD], [BEGUN + REST]], "form", ["content"]),
        ([[], ["Here."]], "empty", []),
    ],
    ids=["cut", "cut in the name", "form", "empty"],
)
async def test_a_repaired_answer_leaves_the_record_of_its_first_part(
    running: Running, records: Records, answers: list[list[str]], fault: str, came_out: list[str]
) -> None:
    async with running(*answers) as (fitten, gateway):
        _, calls, reason = await ask(gateway)
        assert (len(calls), reason) == ((0, "stop") if fault == "empty" else (1, "tool_calls"))
        value = fitten.value
    (record,) = by_part(records)
    assert (record.part, record.repaired, record.block) == (1, fault, value)
    assert record.reasons == ["empty" if fault == "empty" else "unreadable"]
    assert [kind for kind, _ in record.came_out] == came_out
    assert record.raw == [("content", "".join(answers[0]).replace("%V%", value))] * bool(answers[0])


@pytest.mark.parametrize(
    ("answers", "fault", "reasons"),
    [
        ([[BEGUN], ["still"]], "cut", [["unreadable"], ["unreadable"]]),
        ([[BAD], [BAD]], "form", [["unreadable"], ["unreadable"]]),
        ([[], []], "empty", [["empty"], ["empty"]]),
        ([[], [BEGUN]], "empty", [["empty"], ["unreadable"]]),
        ([[BEGUN], [REST + "\n</arg>\n"]], "cut", [["unreadable"], ["marker_leaked"]]),
    ],
    ids=["cut", "form", "empty", "empty, then cut", "a marker behind the rest"],
)
async def test_both_parts_are_recorded_if_both_are_broken(
    running: Running,
    records: Records,
    answers: list[list[str]],
    fault: str,
    reasons: list[list[str]],
) -> None:
    async with running(*answers) as (fitten, gateway):
        await ask(gateway)
        value = fitten.value
    found = by_part(records)
    assert [(record.part, record.repaired) for record in found] == [(1, fault), (2, fault)]
    assert [record.reasons for record in found] == reasons
    first = "".join(answers[0]).replace("%V%", value)
    assert found[1].continues == (first if fault == "cut" else "")


async def test_a_cut_call_without_a_repair_is_one_record(
    running: Running, records: Records
) -> None:
    async with running([BEGUN], repair=False) as (_, gateway):
        await ask(gateway)
    (record,) = by_part(records)
    assert (record.part, record.repaired, record.reasons) == (1, None, ["unreadable"])
    assert record.finish_reason == "length"


async def test_a_call_that_the_limit_cuts_is_not_recorded(
    running: Running, records: Records
) -> None:
    async with running([BEGUN + "x" * 400]) as (_, gateway):
        _, _, reason = await ask(gateway, max_tokens=40)
        assert reason == "length"
    assert records.files() == []


async def test_an_answer_in_a_loop_is_recorded(running: Running, records: Records) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "ls", "arguments": "{}"}}
    turn: list[dict[str, Any]] = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "nothing"},
    ]
    async with running(["Fine."]) as (_, gateway):
        messages = [{"role": "user", "content": "hi"}, *turn * 3]
        assert await ask(gateway, messages=messages) == ("Fine.", [], "stop")
    (record,) = by_part(records)
    assert record.reasons == ["loop"]
