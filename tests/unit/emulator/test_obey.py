"""The model that makes the calls that a marker describes."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from tests.unit.emulator.support import EmulatorClient
from tests.unit.emulator.test_tool_use import said

TEXT = 'a </tool_call> "b"\n\n  c\\'


def marker(*calls: Any) -> str:
    return f"[[obey calls={quote(json.dumps(calls), safe='')}]]"


def made(text: str) -> list[Any]:
    parts = [part.removesuffix("\n</tool_call>") for part in text.split("<tool_call>\n")[1:]]
    return [json.loads(part.removesuffix("\n</tool_call>\n")) for part in parts]


async def test_it_makes_the_calls_in_their_order(member: EmulatorClient) -> None:
    calls = [["f", {"a": [1, {"b": None}]}], ["g", {}]]
    answer = await said(member, f"Do it. {marker(*calls)}")
    assert made(answer) == [{"name": name, "arguments": inner} for name, inner in calls]


@pytest.mark.parametrize("given", [TEXT, TEXT.replace("</", "< /"), ""])
async def test_a_text_is_copied_from_the_prompt_as_it_stands_there(
    member: EmulatorClient, given: str
) -> None:
    block = f"--- text 1 ---\n{given}\n--- end 1 ---"
    answer = await said(member, f"Write.\n\n{block}\n\n{marker(['f', {'x': {'text': 1}}])}")
    assert made(answer) == [{"name": "f", "arguments": {"x": given}}]


async def test_a_text_that_the_prompt_lacks_is_empty(member: EmulatorClient) -> None:
    answer = await said(member, marker(["f", {"x": {"text": 2}}]))
    assert made(answer) == [{"name": "f", "arguments": {"x": ""}}]


async def test_it_can_say_a_text_instead(member: EmulatorClient) -> None:
    assert await said(member, "[[obey say=51%20it%20is]]") == "51 it is\n"
