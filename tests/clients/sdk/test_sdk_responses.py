"""The Responses API, as the official SDK reads it: whole, streamed, parsed, and with tools."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai import (
    APIError,
    AsyncOpenAI,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    OpenAI,
)
from pydantic import BaseModel

from tests.clients.sdk.support import MODEL, FittenProcess, SdkQuestion

COUNTED = "w0 w1 w2 w3 w4 "
FORECAST: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of the next days.",
    "parameters": FORECAST,
    "strict": False,
}
SPACE: dict[str, Any] = {
    "type": "namespace",
    "name": "sky_v1",
    "description": "What the sky does.",
    "tools": [WEATHER],
}
NOTE: Any = {"type": "custom", "name": "write_note", "description": "Keeps a note."}
WEB: dict[str, Any] = {"type": "web_search"}
ASKED = "What is the weather in Paris for 3 days?"
SAID = "get_weather says: sunny\n"


def asked(text: str) -> Any:
    return SdkQuestion(text).messages


def test_a_text_is_answered_whole(client: OpenAI) -> None:
    answer = client.responses.create(
        model=MODEL, input="[[complete]]", instructions="Be short.", store=False
    )
    assert answer.output_text == "Hello, world!\n"
    assert (answer.status, answer.model) == ("completed", MODEL)
    assert answer.error is None
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert answer.usage.input_tokens > 0


def test_a_text_is_streamed(client: OpenAI) -> None:
    events = [
        *client.responses.create(model=MODEL, input=asked("[[count n=5 pace=0.01]]"), stream=True)
    ]
    assert [event.sequence_number for event in events] == [*range(len(events))]
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == COUNTED
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == COUNTED


async def test_the_async_client_reads_a_stream(async_client: AsyncOpenAI) -> None:
    async with async_client.responses.stream(model=MODEL, input=asked("[[count n=5]]")) as stream:
        final = await stream.get_final_response()
    assert final.output_text == COUNTED


def test_the_stream_helper_puts_the_answer_together(client: OpenAI) -> None:
    with client.responses.stream(
        model=MODEL, input=asked("[[reasoning]]"), reasoning={"summary": "auto"}
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_response()
    assert "response.reasoning_summary_text.delta" in kinds
    assert [item.type for item in final.output] == ["reasoning", "message"]
    assert final.output_text


def test_the_stream_helper_bears_keep_alives(quick_client: OpenAI) -> None:
    with quick_client.responses.stream(
        model=MODEL, input=asked("[[slow first=0.5 gap=0.4 n=3]]")
    ) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds.count("response.in_progress") > 3
    assert final.output_text == "w0 w1 w2 "


class Out(BaseModel):
    name: str
    age: int


def test_an_answer_is_parsed(client: OpenAI) -> None:
    answer = client.responses.parse(
        model=MODEL, input=asked('[[say text={"name":%20"Ann",%20"age":%207}]]'), text_format=Out
    )
    assert answer.output_parsed == Out(name="Ann", age=7)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("tools", [[WEATHER], [SPACE], [WEB, SPACE, NOTE]])
def test_an_agent_loop_ends_with_an_answer(
    client: OpenAI, fitten: FittenProcess, tools: list[Any], streamed: bool
) -> None:
    question = SdkQuestion(ASKED)
    items: list[Any] = [*question.messages]
    for _ in range(3):
        answer: Any
        if streamed:
            with client.responses.stream(model=MODEL, input=items, tools=tools) as stream:
                answer = stream.get_final_response()
        else:
            answer = client.responses.create(model=MODEL, input=items, tools=tools)
        items += [item.model_dump(exclude_none=True) for item in answer.output]
        calls = [item for item in answer.output if item.type == "function_call"]
        if not calls:
            break
        for call in calls:
            assert call.name == "get_weather"
            assert getattr(call, "namespace", None) == (None if tools == [WEATHER] else "sky_v1")
            assert json.loads(call.arguments) == {"city": "Paris", "days": 3}
            items.append(
                {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
            )
    assert answer.output_text == SAID
    assert len(fitten.calls(question)) == 2


@pytest.mark.parametrize("streamed", [False, True])
def test_a_custom_tool_goes_round(client: OpenAI, streamed: bool) -> None:
    items: list[Any] = [*SdkQuestion("Keep a note. [[call]]").messages]
    answer: Any
    if streamed:
        with client.responses.stream(model=MODEL, input=items, tools=[NOTE]) as stream:
            events = [*stream]
        answer = events[-1].response
        deltas = [e.delta for e in events if e.type == "response.custom_tool_call_input.delta"]
        assert "".join(deltas) == answer.output[-1].input
    else:
        answer = client.responses.create(model=MODEL, input=items, tools=[NOTE])
    call = answer.output[-1]
    assert (call.type, call.name) == ("custom_tool_call", "write_note")
    assert call.input
    items.append(call.model_dump(exclude_none=True))
    items.append({"type": "custom_tool_call_output", "call_id": call.call_id, "output": "kept"})
    answer = client.responses.create(model=MODEL, input=items, tools=[NOTE])
    assert answer.output_text == "write_note says: kept\n"


def test_a_limit_makes_the_answer_incomplete(client: OpenAI) -> None:
    answer = client.responses.create(
        model=MODEL, input=asked("[[count n=50]]"), max_output_tokens=5
    )
    assert answer.status == "incomplete"
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"


def test_a_failure_after_the_first_event_is_a_failed_response(client: OpenAI) -> None:
    events = [*client.responses.create(model=MODEL, input=asked("[[error_middle]]"), stream=True)]
    last = events[-1]
    assert last.type == "response.failed"
    assert last.response.error is not None
    assert last.response.error.code == "server_error"


def test_errors_before_the_first_event_are_exceptions(client: OpenAI) -> None:
    with pytest.raises(BadRequestError) as refused:
        client.responses.create(model=MODEL, input="hi", previous_response_id="resp_1")
    assert (refused.value.code, refused.value.param) == (
        "previous_response_not_found",
        "previous_response_id",
    )
    with pytest.raises(NotFoundError) as unknown:
        client.responses.create(model="no-such-thing", input="hi")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(AuthenticationError):
        client.with_options(api_key="wrong").responses.create(model=MODEL, input="hi")
    with pytest.raises(APIError) as broken:
        client.responses.create(model=MODEL, input=asked("[[reset after=0]]"), stream=True)
    assert broken.value.code == "upstream_truncated"


def test_nothing_is_stored(client: OpenAI) -> None:
    for request in (client.responses.retrieve, client.responses.delete):
        with pytest.raises(NotFoundError) as absent:
            request("resp_1")
        assert absent.value.code == "response_not_found"


def test_leaving_a_stream_closes_the_upstream(client: OpenAI, fitten: FittenProcess) -> None:
    question = SdkQuestion("[[endless]]")
    given: Any = question.messages
    with client.responses.create(model=MODEL, input=given, stream=True) as stream:
        for event in stream:
            if event.type == "response.output_text.delta":
                break
    fitten.wait_until_closed(question)
