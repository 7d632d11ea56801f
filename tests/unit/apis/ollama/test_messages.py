"""The messages of a chat: results find their calls, though clients do not keep ids."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.apis.ollama.chat import OllamaChat
from gateway.generation.request import Message, ToolCall
from tests.counting import calls_of


def parse(*messages: Any) -> tuple[Message, ...]:
    return OllamaChat().parse(json.dumps({"messages": list(messages)}).encode()).messages


def call(name: str, arguments: Any = None, **more: Any) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments or {}}, **more}


def calls(*names: str) -> dict[str, Any]:
    return {"role": "assistant", "content": "", "tool_calls": [call(name) for name in names]}


def result(content: str, **more: Any) -> dict[str, Any]:
    return {"role": "tool", "content": content, **more}


def links(*messages: Any) -> dict[str, str | None]:
    """The text of each result, and the number of the call that it answers."""
    parsed = parse(*messages)
    numbers = [call.id for message in parsed for call in message.calls]
    return {
        m.text: str(numbers.index(m.call_id)) if m.call_id in numbers else m.call_id
        for m in parsed
        if m.role == "tool"
    }


def test_roles_are_read_in_any_case_and_thoughts_are_left_out() -> None:
    parsed = parse(
        {"role": "SYSTEM", "content": "Be short."},
        {"role": "User", "content": None},
        {"role": "thinking", "content": "Hm."},
        {"role": "assistant", "content": "a", "thinking": "Hm."},
    )
    assert parsed == (
        Message("system", "Be short."),
        Message("user", ""),
        Message("assistant", "a"),
    )


def test_arguments_are_objects_or_text() -> None:
    arguments = {"b": [1, "é"], "a": None}
    given = [call("Read", arguments), call("Run", '{"x": 1}'), call("Stop", None)]
    (message,) = parse({"role": "assistant", "tool_calls": given})
    assert [(made.name, made.arguments) for made in message.calls] == [
        ("Read", '{"b": [1, "é"], "a": null}'),
        ("Run", '{"x": 1}'),
        ("Stop", "{}"),
    ]


def test_calls_of_other_roles_are_none() -> None:
    (message,) = parse({"role": "user", "content": "a", "tool_calls": [call("Read")]})
    assert message.calls == ()


def test_ids_link_results_and_calls() -> None:
    turn = {"role": "assistant", "tool_calls": [call("Read", id="a"), call("Read", id="b")]}
    parsed = parse(turn, result("2", tool_call_id="b"), result("1", tool_name="Read"))
    assert parsed[0].calls == (ToolCall("a", "Read", "{}"), ToolCall("b", "Read", "{}"))
    assert [message.call_id for message in parsed[1:]] == ["b", "a"]


@pytest.mark.parametrize("member", ["tool_name", "name"])
def test_names_link_results_and_calls(member: str) -> None:
    assert links(
        calls("Read", "Run", "Read"),
        result("run", **{member: "Run"}),
        result("first", **{member: "Read"}),
        result("second", **{member: "Read"}),
        result("third", **{member: "Read"}),
        result("other", **{member: "Other"}),
    ) == {"run": "1", "first": "0", "second": "2", "third": "Read", "other": "Other"}


def test_results_without_a_name_come_in_the_order_of_the_calls() -> None:
    given = calls("Read", "Run"), result("a"), result("b"), result("c")
    assert links(*given) == {"a": "0", "b": "1", "c": None}


def test_a_call_that_was_never_answered_takes_no_later_result() -> None:
    given = calls("Read"), {"role": "user", "content": "Go on."}, calls("Read"), result("a")
    assert links(*given) == {"a": "1"}


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=8), st.randoms())
def test_results_in_any_order_of_names_find_their_calls(
    names: list[str], order: random.Random
) -> None:
    """As the Python client sends them: without ids, each with the name of its tool."""
    numbers = [*range(len(names))]
    by_name = {name: [n for n in numbers if names[n] == name] for name in names}
    shuffled = [*names]
    order.shuffle(shuffled)
    given, wanted = [], {}
    for place, name in enumerate(shuffled):
        given.append(result(str(place), tool_name=name))
        wanted[str(place)] = str(by_name[name].pop(0))
    assert links(calls(*names), *given) == wanted


def test_a_hostile_conversation_costs_work_in_proportion_to_its_length() -> None:
    def work(size: int) -> int:
        turn = calls(*["a"] * size)
        given = [result("", tool_name="b" if n % 2 else "a") for n in range(size)]
        body = json.dumps({"messages": [turn, *given]}).encode()
        return calls_of(lambda: OllamaChat().parse(body))

    assert work(2000) < 12 * work(200)
