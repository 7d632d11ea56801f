"""The assistant that uses the tools that the prompt describes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from emulator.scenarios.call_notations import NOTATIONS, Notation, written
from emulator.scenarios.tool_use import MadeCall
from tests.unit.emulator.support import CHAT, EmulatorClient

TOOLS = [
    {
        "name": "get_weather",
        "description": "d",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
        },
    },
    {"name": "clock", "parameters": {"type": "object", "properties": {}}},
]
SYSTEM = "\n".join(["Be kind.", "<tools>", *map(json.dumps, TOOLS), "not a tool", "</tools>"])
RESULT = '<tool_result id="call_1" name="clock">\nnoon\n</tool_result>'


def prompt(*users: str) -> str:
    blocks = [f"<|system|>\n{SYSTEM}\n<|end|>", *(f"<|user|>\n{u}\n<|end|>" for u in users)]
    return "\n".join([*blocks, "<|assistant|>"])


async def said(member: EmulatorClient, *users: str) -> str:
    options = member.chat_options("")
    options["json"]["inputs"] = prompt(*users)
    reply = await member.request("POST", f"{CHAT}?ft_token=u_demo_user", **options)
    assert reply.status == 200
    return reply.text


async def test_given_a_tool_it_calls_it(member: EmulatorClient) -> None:
    text = await said(member, "Is the weather nice in Oslo for 2 days?")
    call: Any = json.loads(text.removeprefix("<tool_call>").removesuffix("</tool_call>"))
    assert call == {"name": "get_weather", "arguments": {"city": "Oslo", "days": 2}}


async def test_given_results_it_answers_from_them(member: EmulatorClient) -> None:
    assert await said(member, "The clock?", RESULT, RESULT) == "clock says: noon\n" * 2


@pytest.mark.parametrize("notation", NOTATIONS)
async def test_it_calls_in_the_notation_that_is_demanded(
    member: EmulatorClient, notation: str
) -> None:
    text = await said(member, f"The weather in Oslo, 2 days [[call notation={notation}]]")
    assert "get_weather" in text
    assert "Oslo" in text


@pytest.mark.parametrize(
    "notation",
    [
        "attributes",
        "invoke",
        "parameters",
        "use_tool",
        "function_call",
        "function_call_children",
        "tag",
    ],
)
def test_calls_in_xml_stand_inside_one_wrapper(notation: Notation) -> None:
    calls = [MadeCall("one", {"a": 1}), MadeCall("two", {"b": "x"})]
    lines = written(calls, notation).split("\n")
    assert lines[0] == "<function_calls>"
    assert lines[-1] == "</function_calls>"
    bare = written(calls, notation, "unwrapped")
    assert lines[1:-1] == bare.split("\n")
    assert "function_calls" not in bare


def test_a_listing_repeats_its_head_for_each_call() -> None:
    calls = [MadeCall("one", {"a": 1}), MadeCall("two", {})]
    assert written(calls, "listing").split("\n") == [
        "[tool_calls]",
        "- id: call_0",
        "- name: one",
        '- arguments: {"a": 1}',
        "[tool_calls]",
        "- id: call_1",
        "- name: two",
        "- arguments: {}",
        "</tool_calls>",
    ]


def test_brackets_stay_brackets_in_upper_case() -> None:
    text = written([MadeCall("one", {"a": 1})], "bracket_functions", "upper_case")
    assert text == '[FUNCTION_CALLS]\n<ONE A="1" />\n[/FUNCTION_CALLS]'


async def test_it_calls_several_tools_when_asked_to(member: EmulatorClient) -> None:
    text = await said(member, "Oslo [[call n=2 notation=lone]]")
    assert text == '<get_weather city="Oslo" days="1" />\n<clock />'


async def test_it_answers_instead_or_repeats_the_prompt_when_asked_to(
    member: EmulatorClient,
) -> None:
    assert await said(member, "[[ignore_tools]]") == "I would rather just talk.\n"
    assert (await said(member, "[[fragment]]")).endswith("not a tool\n</tools>\n")


async def test_without_tools_it_has_none(member: EmulatorClient) -> None:
    assert (await member.chat("[[call]]")).text == "I have no tools.\n"
