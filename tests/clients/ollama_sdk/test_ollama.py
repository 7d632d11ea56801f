"""Ollama's routes with its official client: whole, streamed, with tools, in JSON, and refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from ollama import Client, ResponseError

from tests.clients.ollama_sdk.conftest import BEARER, KEY, PATH_KEY
from tests.clients.sdk.support import FittenProcess, SdkQuestion
from tests.images import png
from tests.waiting import LONGEST_WAIT

MODEL = "fitten-code:latest"
ASKED = "What is the weather in Paris for 3 days?"


def get_weather(city: str, days: int) -> str:
    """Tell the weather.

    Args:
      city: the city
      days: how many days

    Returns:
      str: the weather
    """
    return f"sunny in {city} for {days} days"


def question(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_a_whole_answer(client: Client) -> None:
    answer = client.chat(MODEL, question("[[count n=3]]"))
    assert (answer.message.role, answer.message.content) == ("assistant", "w0 w1 w2 ")
    assert (answer.model, answer.done, answer.done_reason) == (MODEL, True, "stop")
    assert answer.prompt_eval_count > 0
    assert answer.eval_count > 0
    parts = answer.load_duration + answer.prompt_eval_duration + answer.eval_duration
    assert 0 < parts <= answer.total_duration + 3


def test_a_stream(client: Client) -> None:
    parts = list(client.chat(MODEL, question("[[count n=5]]"), stream=True))
    assert "".join(part.message.content for part in parts) == "w0 w1 w2 w3 w4 "
    assert [part.done for part in parts].count(True) == 1
    assert (parts[-1].done, parts[-1].done_reason) == (True, "stop")
    assert parts[-1].eval_duration > 0


async def test_a_stream_of_asyncio(async_client: Any) -> None:
    parts = [p async for p in await async_client.generate(MODEL, "[[count n=3]]", stream=True)]
    assert "".join(part.response for part in parts) == "w0 w1 w2 "
    answer = await async_client.generate(MODEL, "[[count n=3]]")
    assert (answer.response, answer.done_reason) == ("w0 w1 w2 ", "stop")


@pytest.mark.parametrize("stream", [False, True])
def test_lines_that_bridge_the_silence_are_no_answer(client: Client, stream: bool) -> None:
    """The client takes a line without a text; an empty line or a comment would end the stream."""
    text = "[[slow first=0.4 gap=0.4 n=2]]"
    if not stream:
        assert client.chat(MODEL, question(text)).message.content == "w0 w1 "
        return
    parts = list(client.chat(MODEL, question(text), stream=True))
    assert "".join(part.message.content for part in parts) == "w0 w1 "
    assert sum(not part.message.content and not part.done for part in parts) >= 2


@pytest.mark.parametrize("stream", [False, True])
def test_thoughts(client: Client, stream: bool) -> None:
    asked = question("[[reasoning]]")
    found = client.chat(MODEL, asked, think=True, stream=stream)
    parts = list(found) if stream else [found]
    thoughts = "".join(part.message.thinking or "" for part in parts)
    content = "".join(part.message.content for part in parts)
    assert (thoughts, content) == ("First, greet. Done.", "Hello, world!\n")
    assert not client.chat(MODEL, asked, think=False).message.thinking


@pytest.mark.parametrize("stream", [False, True])
def test_a_turn_with_a_tool(client: Client, stream: bool) -> None:
    """As the client's own examples have it: the tool is a function, and ids are not kept."""
    messages: list[Any] = question(ASKED)
    found = client.chat(MODEL, messages, tools=[get_weather], stream=stream)
    parts = list(found) if stream else [found]
    (call,) = [call for part in parts for call in part.message.tool_calls or ()]
    assert call.function.name == "get_weather"
    assert dict(call.function.arguments) == {"city": "Paris", "days": 3}
    messages.append(next(part.message for part in parts if part.message.tool_calls))
    said = get_weather(**call.function.arguments)
    messages.append({"role": "tool", "tool_name": call.function.name, "content": said})
    answer = client.chat(MODEL, messages, tools=[get_weather])
    assert answer.message.content == f"get_weather says: {said}\n"


def test_images_and_options_reach_the_model(client: Client, fitten: FittenProcess) -> None:
    asked = SdkQuestion("[[count n=9]]")
    message = {**asked.messages[0], "images": [png()]}
    answer = client.chat(MODEL, [message], options={"stop": ["w3"], "temperature": 0.1})
    assert answer.message.content == "w0 w1 w2 "
    (call,) = fitten.calls(asked)
    assert f"data:image/png;base64,{base64.b64encode(png()).decode()})" in call["body"]["inputs"]
    cut = client.chat(MODEL, question("[[count n=99]]"), options={"num_predict": 3})
    assert (cut.done_reason, cut.eval_count) == ("length", 3)


@pytest.mark.parametrize("wanted", ["json", {"type": "object", "properties": {"a": {}}}])
def test_an_answer_in_json(client: Client, wanted: Any) -> None:
    answer = client.chat(MODEL, question("[[say text=%7B%22a%22%3A1%7D]]"), format=wanted)
    assert json.loads(answer.message.content) == {"a": 1}


@pytest.mark.parametrize("stream", [False, True])
def test_a_completion_at_the_cursor(client: Client, stream: bool) -> None:
    for given in (
        {"prompt": "def f(", "suffix": "):"},
        {"prompt": "<PRE> def f( <SUF>): <MID>", "raw": True},
    ):
        found = client.generate("codellama:7b-code", **given, stream=stream, keep_alive="5m")
        parts = list(found) if stream else [found]
        assert "".join(part.response for part in parts) == "completed()"


def test_a_model_is_loaded_without_an_answer(client: Client) -> None:
    assert client.generate(MODEL, keep_alive=-1).done_reason == "load"
    assert client.chat(MODEL).done_reason == "load"
    (part,) = client.chat(MODEL, stream=True)
    assert (part.done, part.message.content) == (True, "")


def test_models(client: Client) -> None:
    listed = client.list().models
    assert listed[0].model == MODEL
    shown = client.show(listed[0].model)
    architecture = shown.modelinfo["general.architecture"]
    window = shown.modelinfo[f"{architecture}.context_length"]
    assert {"completion", "tools", "insert", "vision"} == {*shown.capabilities}
    running = client.ps().models
    assert [model.model for model in running] == [model.model for model in listed]
    assert running[0].context_length == window > 10_000
    assert all(model.digest and model.modified_at for model in listed)


def test_what_needs_a_store_is_refused(client: Client) -> None:
    for call in (
        lambda: client.pull("llama3"),
        lambda: client.push("llama3"),
        lambda: client.create("mine", from_="llama3"),
        lambda: client.copy("a", "b"),
        lambda: client.delete("llama3"),
        lambda: client.embed(MODEL, "text"),
        lambda: client.embeddings(MODEL, "text"),
        lambda: list(client.pull("llama3", stream=True)),
    ):
        with pytest.raises(ResponseError, match=r"\AThis gateway ") as failure:
            call()
        assert failure.value.status_code == 501


@pytest.mark.parametrize("stream", [False, True])
def test_errors_before_the_answer(client: Client, stream: bool) -> None:
    for model, text, status in (
        ("nothing-like-it", "hi", 404),
        (MODEL, "[[status code=500]]", 502),
        (MODEL, "x" * 400_000, 400),
    ):
        with pytest.raises(ResponseError) as failure:
            list(client.chat(model, question(text), stream=stream))
        assert failure.value.status_code == status
        assert failure.value.error


@pytest.mark.parametrize("marker", ["[[error_middle]]", "[[reset]]"])
def test_an_error_in_the_answer(client: Client, marker: str) -> None:
    parts: list[Any] = []
    with pytest.raises(ResponseError) as failure:
        parts.extend(client.chat(MODEL, question(marker), stream=True))
    assert parts
    assert not any(part.done for part in parts)
    assert failure.value.error


def test_a_client_that_leaves_ends_the_upstream(client: Client, fitten: FittenProcess) -> None:
    asked = SdkQuestion("[[endless]]")
    stream = client.chat(MODEL, asked.messages, stream=True)
    next(stream)
    stream.close()
    fitten.wait_until_closed(asked)


def test_keys(host: str) -> None:
    """In a header, as a password, and in the path if the key is marked.

    The client drops the user and the password of an address, but takes `auth`.
    """
    given: list[tuple[str, dict[str, Any]]] = [
        (host, {"headers": BEARER}),
        (host, {"auth": ("any", KEY)}),
        (f"{host}/k/{PATH_KEY}", {}),
        (f"{host}/k/{PATH_KEY}/", {}),
    ]
    for address, options in given:
        with Client(host=address, timeout=LONGEST_WAIT, **options) as client:
            assert client.list().models
            assert client.chat(MODEL, question("[[say]]")).message.content
    for address in (host, f"{host}/k/{KEY}", f"{host}/k/wrong-key-0123456789"):
        with Client(host=address, timeout=LONGEST_WAIT) as client:
            with pytest.raises(ResponseError) as failure:
                client.list()
            assert failure.value.status_code == 401
