"""Messages with the official SDK: whole, streamed, with tools, in JSON, and refused."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic, beta_tool

from tests.clients.sdk.support import FittenProcess, SdkQuestion

MODEL = "fitten-code"
TOOLS: Any = [
    {
        "name": "get_weather",
        "description": "The weather of the next days.",
        "input_schema": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
        },
    },
    {"name": "clock", "description": "The time.", "input_schema": {"type": "object"}},
]
ASKED = "What is the weather in Paris for 3 days?"


def request(text: str, **members: Any) -> Any:
    return {
        "model": MODEL,
        "max_tokens": 1000,
        "messages": [{"role": "user", "content": text}],
        **members,
    }


def run(call: Any) -> dict[str, Any]:
    """Carry out a call, as an agent does."""
    given = call.input
    said = f"{call.name} of {given['city']} for {given['days']} days" if given else "noon"
    return {"type": "tool_result", "tool_use_id": call.id, "content": said}


def test_a_whole_answer_and_its_headers(client: Anthropic) -> None:
    raw = client.messages.with_raw_response.create(**request("[[count n=3]]", system="Be short."))
    answer = raw.parse()
    (block,) = answer.content
    assert (block.type, block.text) == ("text", "w0 w1 w2 ")
    assert (answer.stop_reason, answer.stop_sequence) == ("end_turn", None)
    assert answer.usage.input_tokens > 0
    assert answer.usage.output_tokens > 0
    assert answer.id.startswith("msg_")
    assert raw.headers["request-id"].startswith("req_")
    assert raw.headers["anthropic-ratelimit-requests-limit"] == "10000"


def test_a_streamed_answer_is_collected_by_the_sdk(client: Anthropic) -> None:
    with client.messages.stream(**request("[[count n=5]]")) as stream:
        text = "".join(stream.text_stream)
        answer = stream.get_final_message()
    assert text == "w0 w1 w2 w3 w4 "
    assert [block.model_dump(include={"type", "text"}) for block in answer.content] == [
        {"type": "text", "text": text}
    ]
    assert answer.stop_reason == "end_turn"
    assert answer.usage.input_tokens > 0


def test_raw_events_have_the_sdks_types(client: Anthropic) -> None:
    events = list(client.messages.create(**request("[[say]]"), stream=True))
    kinds = [event.type for event in events]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[2:-3]) == {"content_block_delta"}


async def test_a_streamed_answer_of_asyncio(async_client: AsyncAnthropic) -> None:
    async with async_client.messages.stream(**request("[[count n=3]]")) as stream:
        text = "".join([part async for part in stream.text_stream])
    assert text == "w0 w1 w2 "


async def test_the_route_of_betas(async_client: AsyncAnthropic) -> None:
    answer = await async_client.beta.messages.create(
        **request("[[say]]"), betas=["interleaved-thinking-2025-05-14"]
    )
    assert answer.content[0].type == "text"


@pytest.mark.parametrize("marker", ["", "[[call notation=parameters quirk=prose]]"])
def test_an_agent_loop_ends_with_an_answer(
    client: Anthropic, fitten: FittenProcess, marker: str
) -> None:
    question = SdkQuestion(f"{ASKED} {marker}")
    messages: list[Any] = [*question.messages]
    for _ in range(3):
        answer = client.messages.create(**request("", messages=messages, tools=TOOLS))
        messages.append({"role": "assistant", "content": answer.content})
        if answer.stop_reason != "tool_use":
            break
        calls = [block for block in answer.content if block.type == "tool_use"]
        messages.append({"role": "user", "content": [run(call) for call in calls]})
    (block,) = answer.content
    assert block.type == "text"
    assert block.text == "get_weather says: get_weather of Paris for 3 days\n"
    assert len(fitten.calls(question)) == 2


@pytest.mark.parametrize("marker", ["", "[[call n=2 notation=attributes]]"])
def test_a_streamed_agent_loop_ends_with_an_answer(client: Anthropic, marker: str) -> None:
    messages: list[Any] = [{"role": "user", "content": f"{ASKED} {marker}"}]
    with client.messages.stream(**request("", messages=messages, tools=TOOLS)) as stream:
        answer = stream.get_final_message()
    assert answer.stop_reason == "tool_use"
    calls = [block for block in answer.content if block.type == "tool_use"]
    assert [call.name for call in calls] == ["get_weather", "clock"][: len(calls)]
    assert calls[0].input == {"city": "Paris", "days": 3}
    messages += [
        {"role": "assistant", "content": answer.content},
        {"role": "user", "content": [run(call) for call in reversed(calls)]},
    ]
    with client.messages.stream(**request("", messages=messages, tools=TOOLS)) as stream:
        text = stream.get_final_text()
    assert text.startswith("get_weather says: get_weather of Paris for 3 days\n")
    assert ("clock says: noon" in text) == (len(calls) == 2)


@pytest.mark.parametrize("stream", [False, True])
def test_a_runner_of_tools_gets_to_its_answer(
    client: Anthropic, fitten: FittenProcess, stream: bool
) -> None:
    """It lets Anthropic keep the conversation, unless the server says that it keeps none."""

    @beta_tool
    def get_weather(city: str, days: int) -> str:
        """The weather of the next days."""
        return f"sunny in {city} for {days} days"

    question = SdkQuestion(ASKED)
    given = request("", messages=question.messages, tools=[get_weather], stream=stream)
    answer = client.beta.messages.tool_runner(**given).until_done()
    (block,) = answer.content
    assert block.model_dump()["text"] == "get_weather says: sunny in Paris for 3 days\n"
    assert len(fitten.calls(question)) == 2


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_sequence_is_told(client: Anthropic, stream: bool) -> None:
    given = request("[[count n=9]]", stop_sequences=["w4"])
    if stream:
        with client.messages.stream(**given) as events:
            answer = events.get_final_message()
    else:
        answer = client.messages.create(**given)
    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", "w4")
    assert answer.content[0].model_dump()["text"] == "w0 w1 w2 w3 "


@pytest.mark.parametrize("stream", [False, True])
def test_thoughts_are_a_block_that_may_come_back(client: Anthropic, stream: bool) -> None:
    given = request("[[reasoning]]", thinking={"type": "enabled", "budget_tokens": 1024})
    if stream:
        with client.messages.stream(**given) as events:
            answer = events.get_final_message()
    else:
        answer = client.messages.create(**given)
    thought, text = answer.content
    assert thought.type == "thinking"
    assert thought.thinking == "First, greet. Done."
    assert thought.signature
    messages = [
        {"role": "user", "content": "[[say]]"},
        {"role": "assistant", "content": [thought, text]},
        {"role": "user", "content": "[[say]]"},
    ]
    assert client.messages.create(**request("", messages=messages)).stop_reason == "end_turn"


def test_an_answer_in_json(client: Anthropic) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    given = request("[[say text=%7B%22a%22%3A1%7D]]")
    config = {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
    answer = client.messages.create(**given, extra_body=config)
    assert json.loads(answer.content[0].model_dump()["text"]) == {"a": 1}


def test_models(client: Anthropic) -> None:
    models = list(client.models.list())
    assert MODEL in [model.id for model in models]
    assert client.models.retrieve(MODEL) == models[0]
    assert models[0].created_at.year == 2025


def test_an_unknown_model(client: Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as failure:
        client.messages.create(**request("a", model="nothing-like-it"))
    assert "nothing-like-it" in str(failure.value)


def test_a_wrong_key(base_url: str) -> None:
    with (
        Anthropic(base_url=base_url, api_key="wrong-key-0123456789", max_retries=0) as client,
        pytest.raises(anthropic.AuthenticationError) as failure,
    ):
        client.messages.create(**request("a"))
    assert failure.value.request_id is not None


def test_a_field_at_fault(client: Anthropic) -> None:
    document = {"type": "document", "source": {"type": "text", "data": "a"}}
    messages = [{"role": "user", "content": [document]}]
    with pytest.raises(anthropic.BadRequestError) as failure:
        client.messages.create(**request("", messages=messages))
    body: Any = failure.value.body
    assert body["error"]["type"] == "invalid_request_error"
    assert body["error"]["message"].startswith("messages[0].content[0].type: ")


def test_a_failure_of_the_upstream(client: Anthropic) -> None:
    with pytest.raises(anthropic.InternalServerError) as failure:
        client.messages.create(**request("[[status code=500]]"))
    assert failure.value.status_code == 502


def test_a_failure_in_the_answer(client: Anthropic) -> None:
    texts: list[str] = []

    def read() -> None:
        with client.messages.stream(**request("[[error_middle]]")) as stream:
            texts.extend(stream.text_stream)

    with pytest.raises(anthropic.APIStatusError, match="Fitten reports an error"):
        read()
    assert texts == ["Hel"]


def test_too_many_requests(limited_client: Anthropic) -> None:
    for _ in range(2):
        limited_client.messages.create(**request("[[say]]"))
    with pytest.raises(anthropic.RateLimitError) as failure:
        limited_client.messages.create(**request("[[say]]"))
    headers = failure.value.response.headers
    assert headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert int(headers["retry-after"]) >= 1
