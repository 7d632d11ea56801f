"""LangChain's models before a gateway and the emulator; run by `make frameworks`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest

from tests.clients.frameworks.support import (
    ASKED,
    FAILED,
    KEY,
    PERSON,
    SAID,
    Person,
    get_weather,
)
from tests.clients.sdk.support import MODEL, FittenProcess, SdkGateway, SdkQuestion
from tests.waiting import LONGEST_WAIT

MakeModel = Callable[..., Any]
apis = pytest.mark.parametrize("api", ["chat", "responses", "messages"])


@pytest.fixture
def made_model(gateway: SdkGateway) -> MakeModel:
    """Make a model over one of the APIs; it repeats nothing by itself."""

    def make(api: str, *, key: str = KEY) -> Any:
        from langchain_anthropic import ChatAnthropic
        from langchain_openai import ChatOpenAI

        given: dict[str, Any] = {"model": MODEL, "api_key": key, "max_retries": 0}
        given["timeout"] = LONGEST_WAIT
        if api == "messages":
            return ChatAnthropic(base_url=gateway.base_url.removesuffix("/v1"), **given)
        return ChatOpenAI(
            base_url=gateway.base_url,
            use_responses_api=api == "responses",
            stream_usage=True,
            **given,
        )

    return make


@apis
def test_a_whole_answer_and_its_usage(made_model: MakeModel, api: str) -> None:
    answer = made_model(api).invoke("[[count n=3]]")
    assert answer.text == "w0 w1 w2 "
    usage = answer.usage_metadata
    assert usage["output_tokens"] == 3
    assert usage["total_tokens"] == usage["input_tokens"] + 3


@apis
def test_a_streamed_answer_and_its_usage(made_model: MakeModel, api: str) -> None:
    chunks = [*made_model(api).stream("[[count n=3]]")]
    assert "".join(chunk.text for chunk in chunks) == "w0 w1 w2 "
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert whole.usage_metadata["output_tokens"] == 3
    assert whole.usage_metadata["input_tokens"] > 3


@apis
@pytest.mark.parametrize("marker", ["", "[[call notation=qwen3_coder]]"])
def test_an_agent_runs_to_its_answer(
    made_model: MakeModel, fitten: FittenProcess, api: str, marker: str
) -> None:
    from langchain.agents import create_agent

    question = SdkQuestion(f"{ASKED} {marker}")
    agent = create_agent(made_model(api), tools=[get_weather])
    done = agent.invoke({"messages": question.messages})
    assert [message.type for message in done["messages"]] == ["human", "ai", "tool", "ai"]
    assert done["messages"][-1].text.strip() == SAID
    assert len(fitten.calls(question)) == 2


@apis
def test_an_agent_streams_to_its_answer(made_model: MakeModel, api: str) -> None:
    from langchain.agents import create_agent

    agent = create_agent(made_model(api), tools=[get_weather])
    asked = {"messages": [{"role": "user", "content": ASKED}]}
    texts = [
        message.text
        for message, _ in agent.stream(asked, stream_mode="messages")
        if message.type == "AIMessageChunk"
    ]
    assert "".join(texts).strip() == SAID


@apis
def test_an_answer_has_the_wanted_shape(made_model: MakeModel, api: str) -> None:
    model = made_model(api).with_structured_output(Person, method="json_schema")
    assert model.invoke(PERSON) == Person(name="Ann", age=7)


def raised(api: str) -> type[Exception]:
    return anthropic.APIError if api == "messages" else openai.APIError


@apis
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_before_the_first_piece(made_model: MakeModel, api: str, stream: bool) -> None:
    model = made_model(api)
    with pytest.raises(raised(api), match=FAILED) as failure:
        [*model.stream("[[error_200]]")] if stream else model.invoke("[[error_200]]")
    assert getattr(failure.value, "status_code", None) == 502


@apis
def test_an_error_after_the_first_piece(made_model: MakeModel, api: str) -> None:
    texts: list[str] = []

    def read() -> None:
        for chunk in made_model(api).stream("[[error_middle]]"):
            texts.append(chunk.text)

    # What LangChain makes of a failed response is an exception of its own.
    with pytest.raises(ValueError if api == "responses" else raised(api), match=FAILED):
        read()
    assert "".join(texts) == "Hel"


@apis
def test_a_wrong_key(made_model: MakeModel, api: str) -> None:
    with pytest.raises(raised(api)) as failure:
        made_model(api, key="wrong-key-0123456789").invoke("a")
    assert getattr(failure.value, "status_code", None) == 401


@apis
def test_leaving_a_stream_closes_the_upstream(
    made_model: MakeModel, fitten: FittenProcess, api: str
) -> None:
    question = SdkQuestion("[[endless]]")
    stream = made_model(api).stream(question.messages)
    for chunk in stream:
        if chunk.text:
            break
    stream.close()
    fitten.wait_until_closed(question)


def test_tokens_are_counted(made_model: MakeModel) -> None:
    from langchain_core.messages import HumanMessage

    assert made_model("messages").get_num_tokens_from_messages([HumanMessage("Hello")]) > 0
