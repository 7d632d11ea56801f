"""How good an answer is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.doctor.grading import Grade, SeenAnswer, grade, same
from gateway.doctor.tool_cases import CASES

BY_NAME = {case.name: case for case in CASES}


def graded(name: str, *calls: tuple[str, Any], text: str = "") -> Grade:
    made = [
        (tool, arguments if isinstance(arguments, str) else json.dumps(arguments))
        for tool, arguments in calls
    ]
    return grade(BY_NAME[name], SeenAnswer(made, text))


HAMBURG = ("get_weather", {"city": "Hamburg"})
OSLO, LIMA = ("get_weather", {"city": "Oslo"}), ("get_weather", {"city": "Lima"})
RIGHT = Grade(valid=True, exact=True)


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ([HAMBURG], RIGHT),
        ([("get_weather", {"city": "hamburg"})], Grade(valid=True)),
        ([("get_weather", {"city": "Hamburg", "unit": "C"})], Grade(valid=True)),
        ([("get_weather", {"city": 3})], Grade()),
        ([("get_weather", {})], Grade()),
        ([("get_weather", [])], Grade()),
        ([("get_weather", '{"city": ')], Grade()),
        ([("read_file", {"path": "Hamburg"})], Grade(false_calls=1)),
        ([HAMBURG, HAMBURG], Grade(false_calls=1)),
        ([], Grade()),
    ],
)
def test_one_call(calls: list[Any], expected: Grade) -> None:
    assert graded("one call", *calls) == expected


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ([OSLO, LIMA], RIGHT),
        ([LIMA, OSLO], RIGHT),
        ([("get_weather", {"city": "Rome"}), OSLO], Grade(valid=True)),
        ([OSLO], Grade()),
        ([OSLO, LIMA, HAMBURG], Grade(false_calls=1)),
    ],
)
def test_two_calls_in_any_order(calls: list[Any], expected: Grade) -> None:
    assert graded("two calls", *calls) == expected


@pytest.mark.parametrize("case", [c for c in CASES if c.calls], ids=lambda c: c.name)
def test_the_wanted_calls_are_exact_and_a_changed_byte_is_not(case: Any) -> None:
    calls = [(call.tool, dict(call.arguments)) for call in case.calls]
    assert graded(case.name, *calls) == RIGHT
    for name, value in calls[0][1].items():
        if isinstance(value, str):
            for other in (f"{value}\n", value[:-1], f" {value}"):
                changed = [(calls[0][0], {**calls[0][1], name: other}), *calls[1:]]
                assert graded(case.name, *changed) == Grade(valid=True)


def test_a_text_is_right_if_it_says_the_word_and_makes_no_call() -> None:
    assert graded("after a result", text="It is 48213.") == Grade(answered=True)
    assert graded("after an error", text="Permission was DENIED.") == Grade(answered=True)
    assert graded("after a result", text="I do not know.") == Grade()
    assert graded("after a result", HAMBURG, text="48213") == Grade(false_calls=1)


@pytest.mark.parametrize(
    ("one", "other"), [(True, 1), ("1", 1), (None, "null"), ([1, 2], [2, 1]), ({"a": 1}, {})]
)
def test_other_json_values_are_not_the_same(one: Any, other: Any) -> None:
    assert not same(one, other)
    assert same({"a": one, "b": other}, {"b": other, "a": one})
