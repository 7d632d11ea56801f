"""Whole answers, as the official SDK reads them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from openai import APITimeoutError, AsyncOpenAI, OpenAI

from tests.clients.sdk.support import MODEL, FittenProcess, SdkQuestion


def test_a_chat_is_answered_whole(client: OpenAI) -> None:
    question = SdkQuestion("[[complete]]")
    answer = client.chat.completions.create(model=MODEL, messages=question.messages)
    assert answer.id.startswith("chatcmpl-")
    assert (answer.object, answer.model) == ("chat.completion", MODEL)
    assert answer.created > 1_700_000_000
    (choice,) = answer.choices
    assert (choice.index, choice.finish_reason) == (0, "stop")
    assert (choice.message.role, choice.message.content) == ("assistant", "Hello, world!\n")
    assert choice.message.refusal is None
    assert choice.message.tool_calls is None


async def test_a_chat_is_answered_whole_to_the_async_client(async_client: AsyncOpenAI) -> None:
    question = SdkQuestion("[[complete]]")
    answer = await async_client.chat.completions.create(model=MODEL, messages=question.messages)
    assert answer.choices[0].message.content == "Hello, world!\n"
    assert answer.choices[0].finish_reason == "stop"


async def test_parallel_chats_get_their_own_answers(async_client: AsyncOpenAI) -> None:
    async def ask(number: int) -> str | None:
        question = SdkQuestion(f"[[say text=answer-{number} pace=0.005]]")
        answer = await async_client.chat.completions.create(model=MODEL, messages=question.messages)
        return answer.choices[0].message.content

    answers = await asyncio.gather(*map(ask, range(20)))
    assert answers == [f"answer-{number}" for number in range(20)]


def test_the_usage_is_the_upstreams(client: OpenAI) -> None:
    question = SdkQuestion("[[complete]]")
    usage = client.chat.completions.create(model=MODEL, messages=question.messages).usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (42, 5, 47)
    assert usage.completion_tokens_details is not None
    assert usage.completion_tokens_details.reasoning_tokens == 0


def test_every_role_and_text_parts_reach_the_upstream(
    client: OpenAI, fitten: FittenProcess
) -> None:
    question = SdkQuestion("[[complete]]")
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": "Be exact."},
            {"role": "user", "content": [{"type": "text", "text": "In parts."}]},
            {"role": "assistant", "content": "Understood."},
            {"role": "tool", "tool_call_id": "call_1", "content": "42"},
            *question.messages,
        ],
    )
    assert answer.choices[0].finish_reason == "stop"
    (call,) = fitten.calls(question)
    for text in ("Be brief.", "Be exact.", "In parts.", "Understood.", "call_1", "42"):
        assert text in call["body"]["inputs"]


@pytest.mark.parametrize("marker", ["[[reasoning]]", "[[thinking]]"])
def test_reasoning_is_readable_as_an_extra_attribute(client: OpenAI, marker: str) -> None:
    question = SdkQuestion(marker)
    answer = client.chat.completions.create(model=MODEL, messages=question.messages)
    message: Any = answer.choices[0].message
    expected = {"[[reasoning]]": "First, greet. Done.", "[[thinking]]": "Hm."}
    assert message.reasoning_content == expected[marker]
    assert message.content == "Hello, world!\n"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_token_limit_ends_the_answer_with_length(
    client: OpenAI, fitten: FittenProcess, name: str
) -> None:
    question = SdkQuestion("[[endless]]")
    limit: dict[str, Any] = {name: 5}
    answer = client.chat.completions.create(model=MODEL, messages=question.messages, **limit)
    (choice,) = answer.choices
    assert choice.finish_reason == "length"
    assert choice.message.content
    assert "w0 w1 w2 w3 w4 w5 w6 w7 w8 w9".startswith(choice.message.content.strip())
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5
    fitten.wait_until_closed(question)


@pytest.mark.parametrize("stop", ["STOP", ["never", "STOP"]])
def test_a_stop_string_ends_the_answer_before_it(client: OpenAI, stop: str | list[str]) -> None:
    question = SdkQuestion("[[say text=one%20STOP%20two piece=2]]")
    answer = client.chat.completions.create(model=MODEL, messages=question.messages, stop=stop)
    (choice,) = answer.choices
    assert (choice.message.content, choice.finish_reason) == ("one ", "stop")


def test_a_stop_string_closes_the_upstream(client: OpenAI, fitten: FittenProcess) -> None:
    question = SdkQuestion("[[endless]]")
    answer = client.chat.completions.create(model=MODEL, messages=question.messages, stop="w2 w3")
    assert answer.choices[0].message.content == "w0 w1 "
    fitten.wait_until_closed(question)


def test_a_client_that_gives_up_closes_the_upstream(client: OpenAI, fitten: FittenProcess) -> None:
    question = SdkQuestion("[[no_headers]]")
    with pytest.raises(APITimeoutError):
        client.chat.completions.create(model=MODEL, messages=question.messages, timeout=2)
    fitten.wait_until_closed(question)


async def test_a_cancelled_task_closes_the_upstream(
    async_client: AsyncOpenAI, fitten: FittenProcess
) -> None:
    question = SdkQuestion("[[endless]]")
    asking = asyncio.create_task(
        async_client.chat.completions.create(model=MODEL, messages=question.messages)
    )
    await asyncio.to_thread(fitten.wait_until_asked, question)
    asking.cancel()
    await asyncio.to_thread(fitten.wait_until_closed, question)


def test_the_request_id_is_that_of_the_header(client: OpenAI) -> None:
    question = SdkQuestion("[[complete]]")
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL,
        messages=question.messages,
        extra_headers={"x-request-id": "chosen-by-the-caller"},
    )
    assert raw.headers["x-request-id"] == "chosen-by-the-caller"
    assert raw.parse()._request_id == "chosen-by-the-caller"


def test_each_request_gets_an_id_of_its_own(client: OpenAI) -> None:
    question = SdkQuestion("[[complete]]")
    ids = {
        client.chat.completions.create(model=MODEL, messages=question.messages)._request_id
        for _ in range(3)
    }
    assert len(ids) == 3
    assert all(ids)


def test_raw_headers_tell_limits_version_and_time(client: OpenAI) -> None:
    question = SdkQuestion("[[complete]]")
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=question.messages)
    assert raw.headers["openai-version"] == "2020-10-01"
    assert int(raw.headers["openai-processing-ms"]) >= 0
    assert raw.headers["x-ratelimit-limit-requests"] == "10000"
    assert 0 < int(raw.headers["x-ratelimit-remaining-requests"]) < 10_000
    assert raw.headers["x-ratelimit-reset-requests"]
    assert "x-fitten-ignored-params" not in raw.headers


def test_parameters_that_cannot_be_forwarded_are_named_in_a_header(client: OpenAI) -> None:
    question = SdkQuestion("[[complete]]")
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL,
        messages=question.messages,
        temperature=0.5,
        seed=7,
        max_tokens=100,
        user="somebody",
        extra_body={"unheard_of": True},
    )
    named = raw.headers["x-fitten-ignored-params"].split(", ")
    assert sorted(named) == ["seed", "temperature", "unheard_of"]
    assert raw.parse().choices[0].finish_reason == "stop"


def test_an_image_goes_along(client: OpenAI) -> None:
    pixel = (
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAC"
        "hwGA60e6kgAAAABJRU5ErkJggg=="
    )
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": pixel}},
                ],
            }
        ],
    )
    assert "It came with 1 image." in (answer.choices[0].message.content or "")
