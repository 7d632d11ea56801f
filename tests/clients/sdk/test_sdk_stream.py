"""Streamed answers, as the official SDK reads them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Iterable
from typing import Any

import openai
import pytest
from openai import APIError, APIStatusError, AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionChunk

from tests.clients.sdk.support import MODEL, FittenProcess, SdkQuestion

COUNTED = "w0 w1 w2 w3 w4 "

# What the upstream does, the text that precedes it, and the code of the error.
BROKEN = [
    ("[[error_middle]]", "Hel", "upstream_error"),
    ("[[reset after=3]]", "Hello, world", "upstream_truncated"),
    ("[[truncate framing=chunked how=reset after=3]]", "Hello, world", "upstream_truncated"),
    ("[[truncate framing=chunked how=fin after=2]]", "Hello, ", "upstream_truncated"),
    ("[[truncate framing=length how=fin after=2 at=line]]", "Hello, ", "upstream_truncated"),
    ("[[truncate framing=close how=reset after=2]]", "Hello, ", "upstream_truncated"),
    ("[[truncate framing=close how=fin after=2 at=line]]", "Hello, ", "upstream_truncated"),
]


def content(chunks: Iterable[ChatCompletionChunk]) -> str:
    """The text of a stream's chunks."""
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def _collect(stream: Iterable[ChatCompletionChunk], chunks: list[ChatCompletionChunk]) -> None:
    for chunk in stream:
        chunks.append(chunk)


async def _collect_async(
    stream: AsyncIterable[ChatCompletionChunk], chunks: list[ChatCompletionChunk]
) -> None:
    async for chunk in stream:
        chunks.append(chunk)


def test_a_chat_is_streamed(client: OpenAI) -> None:
    question = SdkQuestion("[[count n=5]]")
    chunks = list(
        client.chat.completions.create(model=MODEL, messages=question.messages, stream=True)
    )
    assert content(chunks) == COUNTED
    assert [chunk.choices[0].delta.role for chunk in chunks] == [
        "assistant",
        *[None] * (len(chunks) - 1),
    ]
    reasons = [chunk.choices[0].finish_reason for chunk in chunks]
    assert reasons == [*[None] * (len(chunks) - 1), "stop"]
    assert {(c.id, c.created, c.model, c.object) for c in chunks} == {
        (chunks[0].id, chunks[0].created, MODEL, "chat.completion.chunk")
    }
    assert all(chunk.usage is None for chunk in chunks)


async def test_a_chat_is_streamed_to_the_async_client(async_client: AsyncOpenAI) -> None:
    question = SdkQuestion("[[count n=5]]")
    stream = await async_client.chat.completions.create(
        model=MODEL, messages=question.messages, stream=True
    )
    chunks = [chunk async for chunk in stream]
    assert content(chunks) == COUNTED
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert len({chunk.id for chunk in chunks}) == 1


def test_the_first_piece_arrives_before_the_last_exists(
    client: OpenAI, fitten: FittenProcess
) -> None:
    question = SdkQuestion("[[endless]]")
    with client.chat.completions.create(
        model=MODEL, messages=question.messages, stream=True
    ) as stream:
        chunks = [next(stream), next(stream)]
        assert content(chunks).startswith("w0 ")
        (call,) = fitten.calls(question)
        assert call["done_at"] is None


def test_the_usage_comes_once_and_last(client: OpenAI) -> None:
    question = SdkQuestion("[[complete]]")
    *earlier, last = client.chat.completions.create(
        model=MODEL,
        messages=question.messages,
        stream=True,
        stream_options={"include_usage": True},
    )
    assert last.choices == []
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (42, 5)
    assert last.usage.total_tokens == 47
    assert all(chunk.usage is None and "usage" in chunk.model_fields_set for chunk in earlier)
    assert earlier[-1].choices[0].finish_reason == "stop"
    assert {chunk.id for chunk in earlier} == {last.id}


def test_reasoning_is_streamed_as_an_extra_attribute(client: OpenAI) -> None:
    question = SdkQuestion("[[reasoning]]")
    stream = client.chat.completions.create(model=MODEL, messages=question.messages, stream=True)
    deltas: list[Any] = [chunk.choices[0].delta for chunk in stream]
    reasoning = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    assert reasoning == "First, greet. Done."
    assert "".join(delta.content or "" for delta in deltas) == "Hello, world!\n"


def test_a_token_limit_ends_a_stream_with_length(client: OpenAI, fitten: FittenProcess) -> None:
    question = SdkQuestion("[[endless]]")
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=question.messages, stream=True, max_tokens=5
        )
    )
    assert content(chunks).startswith("w0 w1 ")
    assert chunks[-1].choices[0].finish_reason == "length"
    fitten.wait_until_closed(question)


@pytest.mark.parametrize("piece", [1, 2, 3, 50])
def test_a_stop_string_ends_a_stream_however_it_is_split(client: OpenAI, piece: int) -> None:
    question = SdkQuestion(f"[[say text=one%20STO%20STOP%20two piece={piece}]]")
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=question.messages, stream=True, stop=["STOP"]
        )
    )
    assert content(chunks) == "one STO "
    assert chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize(("marker", "text", "code"), BROKEN)
def test_a_broken_upstream_raises_after_the_text_that_came(
    client: OpenAI, marker: str, text: str, code: str
) -> None:
    question = SdkQuestion(marker)
    chunks: list[ChatCompletionChunk] = []
    stream = client.chat.completions.create(model=MODEL, messages=question.messages, stream=True)
    with pytest.raises(APIError) as caught:
        _collect(stream, chunks)
    assert not isinstance(caught.value, APIStatusError)
    assert (caught.value.code, caught.value.type) == (code, "server_error")
    assert caught.value.message.startswith("Fitten")
    assert content(chunks) == text
    assert all(chunk.choices[0].finish_reason is None for chunk in chunks)


async def test_a_broken_upstream_raises_in_the_async_client(async_client: AsyncOpenAI) -> None:
    question = SdkQuestion("[[truncate framing=chunked how=reset after=3]]")
    chunks: list[ChatCompletionChunk] = []
    stream = await async_client.chat.completions.create(
        model=MODEL, messages=question.messages, stream=True
    )
    with pytest.raises(APIError) as caught:
        await _collect_async(stream, chunks)
    assert caught.value.code == "upstream_truncated"
    assert content(chunks) == "Hello, world"


def test_the_clients_connection_is_good_after_an_error_frame(client: OpenAI) -> None:
    broken = SdkQuestion("[[error_middle]]")
    with pytest.raises(APIError):
        list(client.chat.completions.create(model=MODEL, messages=broken.messages, stream=True))
    whole = SdkQuestion("[[complete]]")
    answer = client.chat.completions.create(model=MODEL, messages=whole.messages)
    assert answer.choices[0].message.content == "Hello, world!\n"


def test_an_abandoned_stream_closes_the_upstream(client: OpenAI, fitten: FittenProcess) -> None:
    question = SdkQuestion("[[endless]]")
    with client.chat.completions.create(
        model=MODEL, messages=question.messages, stream=True
    ) as stream:
        next(stream)
    fitten.wait_until_closed(question)


async def test_a_stream_abandoned_by_the_async_client_closes_the_upstream(
    async_client: AsyncOpenAI, fitten: FittenProcess
) -> None:
    question = SdkQuestion("[[endless]]")
    async with await async_client.chat.completions.create(
        model=MODEL, messages=question.messages, stream=True
    ) as stream:
        await anext(stream)
    await asyncio.to_thread(fitten.wait_until_closed, question)


def test_a_stream_has_a_request_id_and_the_usual_headers(client: OpenAI) -> None:
    question = SdkQuestion("[[count n=2]]")
    with client.chat.completions.create(
        model=MODEL, messages=question.messages, stream=True, temperature=0.5
    ) as stream:
        headers = stream.response.headers
        list(stream)
    assert headers["x-request-id"].startswith("req_")
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"] == "no-cache, no-transform"
    assert headers["openai-version"] == "2020-10-01"
    assert headers["x-fitten-ignored-params"] == "temperature"
    assert headers["x-ratelimit-limit-requests"] == "10000"


def _helpers() -> list[str]:
    """Where this major of the SDK has its helper for streams."""
    with OpenAI(api_key="unused") as client:
        places = [("chat", client.chat), ("beta.chat", getattr(client.beta, "chat", None))]
        return [
            name for name, place in places if hasattr(getattr(place, "completions", None), "stream")
        ]


HELPERS = _helpers()


def _helper(client: OpenAI | AsyncOpenAI, place: str) -> Any:
    return client.beta.chat.completions if place == "beta.chat" else client.chat.completions


def test_this_major_has_the_helper() -> None:
    assert "chat" in HELPERS
    if openai.VERSION.startswith("1."):
        assert "beta.chat" in HELPERS


@pytest.mark.parametrize("place", HELPERS)
def test_the_stream_helper_puts_the_answer_together(client: OpenAI, place: str) -> None:
    question = SdkQuestion("[[complete]]")
    with _helper(client, place).stream(
        model=MODEL, messages=question.messages, stream_options={"include_usage": True}
    ) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert "".join(deltas) == "Hello, world!\n"
    (choice,) = final.choices
    assert (choice.message.role, choice.message.content) == ("assistant", "Hello, world!\n")
    assert choice.finish_reason == "stop"
    assert final.usage.total_tokens == 47


@pytest.mark.parametrize("place", HELPERS)
async def test_the_async_stream_helper_puts_the_answer_together(
    async_client: AsyncOpenAI, place: str
) -> None:
    question = SdkQuestion("[[count n=5]]")
    async with _helper(async_client, place).stream(
        model=MODEL, messages=question.messages
    ) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].message.content == COUNTED
    assert final.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("place", HELPERS)
def test_the_stream_helper_raises_for_a_truncated_answer(client: OpenAI, place: str) -> None:
    question = SdkQuestion("[[reset after=3]]")
    with (
        pytest.raises(APIError) as caught,
        _helper(client, place).stream(model=MODEL, messages=question.messages) as stream,
    ):
        stream.get_final_completion()
    assert caught.value.code == "upstream_truncated"


@pytest.mark.parametrize("place", HELPERS)
def test_leaving_the_stream_helper_closes_the_upstream(
    client: OpenAI, fitten: FittenProcess, place: str
) -> None:
    question = SdkQuestion("[[endless]]")
    with _helper(client, place).stream(model=MODEL, messages=question.messages) as stream:
        next(iter(stream))
    fitten.wait_until_closed(question)
