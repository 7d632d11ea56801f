"""The turns that measure how well a model calls tools."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.doctor.tool_cases import CASES, TOOLS, ToolCase, characters_of, turns_of
from gateway.fitten.json_mode.schema_check import find_schema_violation

SCHEMAS: dict[str, Any] = {tool.name: tool.parameters for tool in TOOLS}
WITH_CALLS = [case for case in CASES if case.calls]


def named(case: ToolCase) -> str:
    return case.name


def test_about_twenty_turns_are_run() -> None:
    assert 18 <= len(turns_of(CASES)) <= 24
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", WITH_CALLS, ids=named)
def test_wanted_arguments_fit_the_schema_of_their_tool(case: ToolCase) -> None:
    for call in case.calls:
        violation = find_schema_violation(dict(call.arguments), SCHEMAS[call.tool])
        assert violation is None


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_no_argument_is_optional(tool: Any) -> None:
    def check(schema: Any) -> None:
        if schema.get("type") == "object":
            assert schema["required"] == list(schema["properties"])
            for inner in schema["properties"].values():
                check(inner)
        elif schema.get("type") == "array":
            check(schema["items"])

    check(tool.parameters)


def texts_in(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for one in inner for text in texts_in(one)]


@pytest.mark.parametrize("case", WITH_CALLS, ids=named)
def test_every_wanted_text_stands_in_the_message_as_it_is_wanted(case: ToolCase) -> None:
    (message,) = case.messages
    for call in case.calls:
        for text in texts_in(dict(call.arguments)):
            in_json = json.dumps(text)[1:-1]
            assert text in message.text or in_json in message.text


def test_the_texts_have_what_breaks_notations() -> None:
    everything = "\n".join(message.text for case in CASES for message in case.messages)
    tags = ("</arg>", "</call>", "</tool_call>", "```", "<|end|>", "<|assistant|>")
    for hard in (*tags, "\\", '"', "'", "C:\\Users\\n", "👩\u200d💻"):
        assert hard in everything


@pytest.mark.parametrize("case", [c for c in CASES if not c.calls], ids=named)
def test_a_turn_for_text_says_what_must_be_in_it(case: ToolCase) -> None:
    assert case.says
    assert all(word == word.casefold() for word in case.says)


def test_a_longer_message_makes_a_longer_prompt() -> None:
    short, long = CASES[0], next(case for case in CASES if case.name == "code")
    assert characters_of(long) - characters_of(short) > 400
