"""What the official SDK tries again by itself, and when."""

from __future__ import annotations

import time
from typing import Any

import pytest
from openai import AsyncOpenAI, InternalServerError, OpenAI, RateLimitError

from tests.clients.sdk.support import MODEL, FittenProcess, SdkQuestion


@pytest.mark.parametrize("stream", [False, True])
def test_a_failing_upstream_is_asked_again_max_retries_times(
    client: OpenAI, fitten: FittenProcess, stream: bool
) -> None:
    question = SdkQuestion("[[status code=500]]")
    create: Any = client.with_options(max_retries=2).chat.completions.create
    with pytest.raises(InternalServerError) as caught:
        create(model=MODEL, messages=question.messages, stream=stream)
    assert len(fitten.calls(question)) == 3
    assert caught.value.request.headers["x-stainless-retry-count"] == "2"
    assert caught.value.response.headers["x-should-retry"] == "true"


@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_that_passes_is_not_seen_by_the_client(
    client: OpenAI, fitten: FittenProcess, stream: bool
) -> None:
    question = SdkQuestion("[[status code=503 times=1]]")
    create: Any = client.with_options(max_retries=1).chat.completions.create
    answer = create(model=MODEL, messages=question.messages, stream=stream)
    text = (
        "".join(chunk.choices[0].delta.content or "" for chunk in answer)
        if stream
        else answer.choices[0].message.content
    )
    assert text == "Hello, world!\n"
    assert len(fitten.calls(question)) == 2


async def test_the_async_client_asks_again_too(
    async_client: AsyncOpenAI, fitten: FittenProcess
) -> None:
    question = SdkQuestion("[[status code=500 times=1]]")
    answer = await async_client.with_options(max_retries=1).chat.completions.create(
        model=MODEL, messages=question.messages
    )
    assert answer.choices[0].message.content == "Hello, world!\n"
    assert len(fitten.calls(question)) == 2


def test_a_request_that_the_upstream_refuses_is_not_repeated(
    client: OpenAI, fitten: FittenProcess
) -> None:
    question = SdkQuestion("[[status code=400]]")
    with pytest.raises(InternalServerError) as caught:
        client.with_options(max_retries=2).chat.completions.create(
            model=MODEL, messages=question.messages
        )
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(fitten.calls(question)) == 1


def test_a_broken_stream_is_not_repeated(client: OpenAI, fitten: FittenProcess) -> None:
    question = SdkQuestion("[[reset after=3]]")
    stream = client.with_options(max_retries=2).chat.completions.create(
        model=MODEL, messages=question.messages, stream=True
    )
    with pytest.raises(Exception, match="broke off"):
        list(stream)
    assert len(fitten.calls(question)) == 1


def test_the_wait_that_the_upstream_asks_for_is_kept(client: OpenAI, fitten: FittenProcess) -> None:
    """Without the header the SDK would wait half a second at most."""
    question = SdkQuestion("[[status code=429 retry_after=1 times=1]]")
    started = time.monotonic()
    answer = client.with_options(max_retries=1).chat.completions.create(
        model=MODEL, messages=question.messages
    )
    assert time.monotonic() - started >= 1.0
    assert answer.choices[0].message.content == "Hello, world!\n"
    assert len(fitten.calls(question)) == 2


def test_an_upstream_at_its_limit_has_an_error_of_its_own(lone_client: OpenAI) -> None:
    with pytest.raises(RateLimitError) as caught:
        lone_client.chat.completions.create(
            model=MODEL, messages=SdkQuestion("[[status code=429 retry_after=2]]").messages
        )
    assert (caught.value.code, caught.value.type) == ("upstream_rate_limited", "requests")
    assert caught.value.response.headers["retry-after"] == "2"
    assert caught.value.response.headers["retry-after-ms"] == "2000"


def test_a_wait_of_over_a_minute_is_left_to_the_client(
    lone_client: OpenAI, fitten: FittenProcess
) -> None:
    question = SdkQuestion("[[status code=429 retry_after=90]]")
    with pytest.raises(RateLimitError) as caught:
        lone_client.with_options(max_retries=2).chat.completions.create(
            model=MODEL, messages=question.messages
        )
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(fitten.calls(question)) == 1


def test_the_rate_limits_wait_is_kept(
    limited_client: OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        limited_client.models.list()
    waits: list[float] = []
    # The real wait is just under a minute.
    monkeypatch.setattr(time, "sleep", waits.append)
    with pytest.raises(RateLimitError) as caught:
        limited_client.with_options(max_retries=2).models.list()
    assert caught.value.request.headers["x-stainless-retry-count"] == "2"
    assert len(waits) == 2
    assert all(50 < wait <= 60 for wait in waits)
