"""The size of a prompt that is not written, compared with the prompt itself."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config.settings import Notation
from gateway.fitten.chat import prompt
from gateway.fitten.chat.prompt_estimate import prompt_bytes
from gateway.fitten.tools.writing import prompt as tool_prompt
from gateway.generation.request import GenerationRequest, Message, Tool, ToolCall
from tests.counting import calls_of

SYSTEM = "Reply same language as the user's input."
LONG = "It takes this argument, which is described in a sentence as agents have it. "


def tool(number: int, described: int = 20) -> Tool:
    properties: dict[str, Any] = {
        f"argument_{n}": {"type": kind, "description": LONG}
        for n, kind in enumerate(("string", "number", "boolean"))
    }
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": properties,
        "required": ["argument_0"],
        "additionalProperties": False,
    }
    return Tool(f"tool_{number}", f"{number}. {LONG * described}", schema)


def turn(number: int, text: str) -> list[Message]:
    call = ToolCall(f"call_{number}", "tool_1", '{"argument_0": "a short text"}')
    return [
        Message("assistant", "I look.", calls=(call,)),
        Message("tool", text, call_id=call.id),
        Message("assistant", "I have looked."),
        Message("user", text),
    ]


REQUESTS = {
    "a word": GenerationRequest((Message("user", "Hello"),)),
    "system": GenerationRequest((Message("system", "s" * 3000), Message("user", "Hello"))),
    "Chinese": GenerationRequest((Message("user", "你好" * 2000),)),
    "tools": GenerationRequest((Message("user", "Hello"),), tools=tuple(map(tool, range(7)))),
    "many tools": GenerationRequest(
        (Message("user", "Hello"),), tools=tuple(tool(n) for n in range(40))
    ),
    "short tools": GenerationRequest(
        (Message("user", "Hello"),), tools=tuple(tool(n, described=1) for n in range(24))
    ),
    "an agent": GenerationRequest(
        (
            Message("system", "s" * 9000),
            Message("user", "Begin."),
            *[message for n in range(9) for message in turn(n, "result\n" * 90)],
        ),
        tools=tuple(map(tool, range(7))),
    ),
}


@pytest.mark.parametrize("notation", ["hybrid", "json"])
@pytest.mark.parametrize("name", REQUESTS)
def test_it_is_within_a_tenth_of_the_prompt(name: str, notation: Notation) -> None:
    request = REQUESTS[name]
    messages = request.messages
    if tool_prompt.needs_tools(request):
        messages = tool_prompt.write_tools(
            request, notation, default_system=SYSTEM, key=b"k"
        ).messages
    size = len(prompt.render(messages, default_system=SYSTEM).encode())
    assert prompt_bytes(request, notation, SYSTEM) == pytest.approx(size, rel=0.1, abs=50)


@pytest.mark.parametrize("name", REQUESTS)
def test_the_work_does_not_grow_with_messages_and_tools(name: str) -> None:
    assert calls_of(lambda: prompt_bytes(REQUESTS[name], "auto", SYSTEM)) <= 40
