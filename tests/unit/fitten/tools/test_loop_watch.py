"""Loops of agents: the third equal call with an equal result is one, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from gateway.config.settings import LoopSettings
from gateway.fitten.tools.loop_watch import Loop, act_on_loop, find_loop
from gateway.generation.request import (
    GenerationRequest,
    Image,
    Message,
    Tool,
    ToolCall,
    ToolChoice,
)
from tests.counting import calls_of

USER = Message("user", "Do it.")


def turn(number: int, name: str, arguments: str, result: str = "no such file") -> list[Message]:
    call = ToolCall(f"call_{number}", name, arguments)
    return [Message("assistant", "", calls=(call,)), Message("tool", result, call.id)]


def run(*turns: tuple[str, ...]) -> list[Message]:
    """Return a conversation in which these calls were made: tool, arguments, perhaps a result."""
    return [USER, *[m for number, one in enumerate(turns) for m in turn(number, *one)]]


A = ("read", '{"path": "a", "lines": [1, 2]}')
A_AGAIN = ("read", '{ "lines":[1,2], "path":"\\u0061" }')
B = ("read", '{"path": "b"}')
CASES: dict[str, tuple[list[Message], Loop | None]] = {
    "nothing": ([], None),
    "no call": ([USER], None),
    "twice": (run(A, A), None),
    "three times": (run(A, A, A), Loop("read", 3)),
    "four times": (run(A, A, A, A), Loop("read", 4)),
    "members in another order": (run(A, A_AGAIN, A), Loop("read", 3)),
    "a cycle of two": (run(A, B, A, B, A), Loop("read", 3)),
    "a cycle of two, twice": (run(A, B, A, B), None),
    "a cycle of three": (run(A, B, ("ls", "{}"), A, B, ("ls", "{}"), A), Loop("read", 3)),
    "the agent has gone on": (run(A, A, A, B), None),
    "other results": (run(A, (*A, "found"), A), None),
    "other results each time": (run((*A, "1"), (*A, "2"), (*A, "3")), None),
    "other arguments": (run(A, B, ("read", '{"path": "c"}')), None),
    "arguments of other types": (run(("f", "1"), ("f", '"1"'), ("f", "1.5")), None),
    "another tool": (run(A, A, ("write", A[1])), None),
    "no arguments": (run(("ls", ""), ("ls", "{}"), ("ls", "{ }")), Loop("ls", 3)),
    "no JSON": (run(("ls", "{-l"), ("ls", "{-l"), ("ls", "{-l")), Loop("ls", 3)),
    "deep JSON": (run(*[("f", "[" * 100_000)] * 3), Loop("f", 3)),
    "a user spoke": ([*run(A, A), USER, *turn(9, *A)], None),
    "a user spoke before": ([USER, USER, *run(A, A, A)], Loop("read", 3)),
    "an empty user message": ([*run(A, A), Message("user", ""), *turn(9, *A)], Loop("read", 3)),
    "text in between": (
        [*run(A, A), Message("assistant", "Again."), *turn(9, *A)],
        Loop("read", 3),
    ),
    "no result yet": ([*run(A, A), *turn(9, *A)[:1]], None),
    "a user has the last word": ([*run(A, A, A), USER], None),
    "results without a call": ([USER, *[Message("tool", "x", "c")] * 3], None),
    "the same id each time": ([USER, *turn(1, *A) * 3], Loop("read", 3)),
    "a failure and a success": (
        [*run(A, A), turn(9, *A)[0], replace(turn(9, *A)[1], failed=True)],
        None,
    ),
    "other images": (
        [
            message
            for number in range(3)
            for message in (
                turn(number, *A)[0],
                replace(turn(number, *A)[1], images=(Image("image/png", f"A{number}"),)),
            )
        ],
        None,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_third_equal_call_with_an_equal_result_is_a_loop(name: str) -> None:
    messages, found = CASES[name]
    assert find_loop(messages) == found


def test_three_equal_calls_in_one_turn_are_a_loop_too() -> None:
    calls = tuple(ToolCall(str(number), "ls", "{}") for number in range(4))
    results = [Message("tool", "x" if number else "y", str(number)) for number in range(4)]
    assert find_loop([USER, Message("assistant", "", calls=calls), *results]) == Loop("ls", 3)


def request(count: int) -> GenerationRequest:
    return GenerationRequest(
        tuple(run(*[A] * count)), tools=(Tool("read"),), tool_choice=ToolChoice("required")
    )


@pytest.mark.parametrize(
    ("count", "reminded", "offered"),
    [(3, False, True), (4, True, True), (5, True, True), (6, True, False), (7, True, False)],
)
def test_the_measures_begin_at_their_counts(count: int, reminded: bool, offered: bool) -> None:
    asked = request(count)
    loop = find_loop(asked.messages)
    assert loop == Loop("read", count)
    changed = act_on_loop(asked, loop, LoopSettings(remind=4, stop=6))
    assert changed.messages[:-1] == asked.messages[:-1]
    before, after = asked.messages[-1].text, changed.messages[-1].text
    assert after.startswith(before)
    assert (f"made {count} times" in after) == reminded == (after != before)
    assert ("plain text" in after) != offered
    assert bool(changed.offered) == offered
    assert changed.tools == asked.tools
    assert act_on_loop(asked, loop, LoopSettings()) is asked


@pytest.mark.parametrize("turns", [[A], [A, B], [("f", str(n), str(n)) for n in range(5000)]])
def test_a_long_history_takes_linear_time(turns: list[tuple[str, ...]]) -> None:
    few, many = (run(*(turns * 5000)[:count]) for count in (500, 5000))
    work = [calls_of(partial(find_loop, messages)) for messages in (few, many)]
    assert len(many) > 10_000
    assert work[1] < 11 * work[0]
    assert work[1] < 25 * len(many)
