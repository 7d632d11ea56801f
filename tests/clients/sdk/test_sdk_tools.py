"""Whole agent loops with the official SDK: tools offered, called, answered."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageParam

from tests.clients.sdk.support import MODEL, FittenProcess, SdkQuestion

PARAMETERS: dict[str, object] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
    },
    "required": ["city", "days"],
}
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of the next days.",
            "parameters": PARAMETERS,
        },
    },
    {"type": "function", "function": {"name": "clock", "description": "The time."}},
]
ASKED = "What is the weather in Paris for 3 days?"
# The first is in the notation that the prompt asks for.
CALLS = [
    "",
    "[[call notation=tool_call]]",
    "[[call notation=attributes]]",
    "[[call notation=fenced quirk=prose]]",
    "[[call notation=deepseek_v31]]",
    "[[call notation=qwen3_coder]]",
    "[[call notation=kimi_k2]]",
]


def run(name: str, arguments: str) -> str:
    """Carry out a call, as an agent does."""
    given = json.loads(arguments)
    return f"{name} of {given['city']} for {given['days']} days" if given else "noon"


@pytest.mark.parametrize("marker", CALLS)
def test_an_agent_loop_ends_with_an_answer(
    client: OpenAI, fitten: FittenProcess, marker: str
) -> None:
    question = SdkQuestion(f"{ASKED} {marker}")
    messages: list[ChatCompletionMessageParam] = question.messages
    for _ in range(3):
        answer = client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS)
        (choice,) = answer.choices
        messages.append(choice.message.model_dump(exclude_none=True))  # type: ignore[arg-type]
        if choice.finish_reason != "tool_calls":
            break
        for call in choice.message.tool_calls or ():
            assert call.type == "function"
            result = run(call.function.name, call.function.arguments)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    assert choice.finish_reason == "stop"
    said = "get_weather says: get_weather of Paris for 3 days\n"
    assert choice.message.content == said
    assert len(fitten.calls(question)) == 2


@pytest.mark.parametrize("marker", CALLS)
def test_a_streamed_agent_loop_ends_with_an_answer(client: OpenAI, marker: str) -> None:
    messages: list[Any] = SdkQuestion(f"{ASKED} {marker}").messages
    calls: dict[int, Any] = {}
    for chunk in client.chat.completions.create(
        model=MODEL, messages=messages, tools=TOOLS, stream=True
    ):
        for piece in chunk.choices[0].delta.tool_calls or ():
            assert piece.function is not None
            if piece.id is not None:
                calls[piece.index] = {"id": piece.id, "type": piece.type, "function": {}}
                calls[piece.index]["function"] = {"name": piece.function.name, "arguments": ""}
            calls[piece.index]["function"]["arguments"] += piece.function.arguments
        reason = chunk.choices[0].finish_reason
    assert reason == "tool_calls"
    (call,) = calls.values()
    messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
    result = run(**call["function"])
    messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
    stream = client.chat.completions.create(
        model=MODEL, messages=messages, tools=TOOLS, stream=True
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text == "get_weather says: get_weather of Paris for 3 days\n"


async def test_the_sdks_own_collector_understands_streamed_calls(
    async_client: AsyncOpenAI,
) -> None:
    strict: Any = [{"type": "function", "function": {**TOOLS[0]["function"], "strict": True}}]
    stream_helper: Any = getattr(async_client.chat.completions, "stream", None)
    if stream_helper is None:
        stream_helper = async_client.beta.chat.completions.stream
    question = SdkQuestion(f"{ASKED} [[call quirk=prose_after]]")
    async with stream_helper(model=MODEL, messages=question.messages, tools=strict) as stream:
        kinds = {event.type async for event in stream}
        answer = await stream.get_final_completion()
    assert "tool_calls.function.arguments.delta" in kinds
    assert "tool_calls.function.arguments.done" in kinds
    (choice,) = answer.choices
    (call,) = choice.message.tool_calls
    assert json.loads(call.function.arguments) == {"city": "Paris", "days": 3}
    assert choice.message.content == "Let me look that up.\n\n\n\nOne moment, please."
    assert choice.finish_reason == "tool_calls"


@pytest.mark.parametrize("notation", ["auto", "attributes", "deepseek_v3", "glm"])
def test_several_calls_in_one_turn_are_answered_together(client: OpenAI, notation: str) -> None:
    messages: list[Any] = SdkQuestion(f"{ASKED} [[call n=2 notation={notation}]]").messages
    first = client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS)
    calls: Any = first.choices[0].message.tool_calls
    assert [call.function.name for call in calls] == ["get_weather", "clock"]
    messages.append(first.choices[0].message.model_dump(exclude_none=True))
    for call in reversed(calls):
        result = run(call.function.name, call.function.arguments)
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    last = client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS)
    assert last.choices[0].message.content == (
        "get_weather says: get_weather of Paris for 3 days\nclock says: noon\n"
    )


def test_required_but_ignored_is_an_ordinary_answer(client: OpenAI) -> None:
    question = SdkQuestion("[[ignore_tools]]")
    answer = client.chat.completions.create(
        model=MODEL, messages=question.messages, tools=TOOLS, tool_choice="required"
    )
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.tool_calls is None
    assert answer.choices[0].message.content == "I would rather just talk.\n"
