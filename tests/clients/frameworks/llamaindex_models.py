"""LlamaIndex's models before a gateway and the emulator; run by `make frameworks`."""

from __future__ import annotations

import gc
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
# LlamaIndex uses what pydantic and Anthropic's SDK call deprecated, and closes no client.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def made_model(gateway: SdkGateway) -> MakeModel:
    """Make a model over one of the APIs; it repeats nothing by itself."""

    def make(api: str, *, key: str = KEY) -> Any:
        from llama_index.llms.anthropic import Anthropic
        from llama_index.llms.openai_like import OpenAILike, OpenAILikeResponses

        given: dict[str, Any] = {"api_key": key, "max_retries": 0, "timeout": LONGEST_WAIT}
        if api == "messages":  # it takes only names that it knows
            root = gateway.base_url.removesuffix("/v1")
            return Anthropic(model="claude-sonnet-5", base_url=root, **given)
        given.update(model=MODEL, api_base=gateway.base_url, context_window=70_656)
        given.update(is_function_calling_model=True)
        if api == "chat":
            return OpenAILike(is_chat_model=True, should_use_structured_outputs=True, **given)
        return OpenAILikeResponses(**given)

    return make


def asked(text: str) -> Any:
    from llama_index.core.llms import ChatMessage

    return [ChatMessage(role="user", content=text)]


@apis
def test_a_whole_answer(made_model: MakeModel, api: str) -> None:
    assert made_model(api).chat(asked("[[count n=3]]")).message.content == "w0 w1 w2 "


@apis
def test_a_streamed_answer(made_model: MakeModel, api: str) -> None:
    parts = [*made_model(api).stream_chat(asked("[[count n=3]]"))]
    assert "".join(part.delta or "" for part in parts) == "w0 w1 w2 "


@apis
@pytest.mark.parametrize("marker", ["", "[[call notation=qwen3_coder]]"])
def test_a_tool_is_called_and_its_result_is_read(
    made_model: MakeModel, fitten: FittenProcess, api: str, marker: str
) -> None:
    from llama_index.core.tools import FunctionTool

    question = SdkQuestion(f"{ASKED} {marker}")
    tools = [FunctionTool.from_defaults(get_weather)]
    (message,) = question.messages
    done = made_model(api).predict_and_call(
        tools, user_msg=str(message["content"]), error_on_no_tool_call=True
    )
    assert str(done) == "sunny in Paris for 3 days"
    assert len(fitten.calls(question)) == 1


@apis
async def test_an_agent_runs_to_its_answer(
    made_model: MakeModel, fitten: FittenProcess, api: str
) -> None:
    from llama_index.core.agent.workflow import FunctionAgent

    question = SdkQuestion(ASKED)
    (message,) = question.messages
    agent = FunctionAgent(tools=[get_weather], llm=made_model(api))
    done = await agent.run(str(message["content"]))
    assert str(done).strip() == SAID
    assert len(fitten.calls(question)) == 2


@apis
def test_an_answer_has_the_wanted_shape(made_model: MakeModel, api: str) -> None:
    model = made_model(api).as_structured_llm(Person)
    assert model.chat(asked(PERSON)).raw == Person(name="Ann", age=7)


def raised(api: str) -> type[Exception]:
    return anthropic.APIError if api == "messages" else openai.APIError


@apis
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_before_the_first_piece(made_model: MakeModel, api: str, stream: bool) -> None:
    model, question = made_model(api), asked("[[error_200]]")
    with pytest.raises(raised(api), match=FAILED) as failure:
        [*model.stream_chat(question)] if stream else model.chat(question)
    assert getattr(failure.value, "status_code", None) == 502


# Over Responses LlamaIndex reads no `response.failed`: the answer just ends.
@pytest.mark.parametrize("api", ["chat", "messages"])
def test_an_error_after_the_first_piece(made_model: MakeModel, api: str) -> None:
    texts: list[str] = []

    def read() -> None:
        for part in made_model(api).stream_chat(asked("[[error_middle]]")):
            texts.append(part.delta or "")

    with pytest.raises(raised(api), match=FAILED):
        read()
    assert "".join(texts) == "Hel"


@apis
def test_a_wrong_key(made_model: MakeModel, api: str) -> None:
    with pytest.raises(raised(api)) as failure:
        made_model(api, key="wrong-key-0123456789").chat(asked("a"))
    assert getattr(failure.value, "status_code", None) == 401


@apis
def test_leaving_a_stream_closes_the_upstream(
    made_model: MakeModel, fitten: FittenProcess, api: str
) -> None:
    question = SdkQuestion("[[endless]]")
    (message,) = question.messages
    stream = made_model(api).stream_chat(asked(str(message["content"])))
    for part in stream:
        if part.delta:
            break
    stream.close()
    gc.collect()  # closing LlamaIndex's generator closes none of the SDK's
    fitten.wait_until_closed(question)
