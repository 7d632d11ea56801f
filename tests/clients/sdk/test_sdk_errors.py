"""Each class of error that the official SDK raises, and the fields it fills."""

from __future__ import annotations

import re
from typing import Any

import pytest
from openai import (
    APIStatusError,
    AsyncOpenAI,
    AuthenticationError,
    BadRequestError,
    InternalServerError,
    NotFoundError,
    OpenAI,
    RateLimitError,
)

from tests.clients.sdk.support import MODEL, FittenProcess, SdkGateway, SdkQuestion

CONTEXT = 307_200

BAD_BODIES: list[tuple[dict[str, Any], str, str | None]] = [
    ({"messages": []}, "messages", None),
    ({"messages": "hello"}, "messages", "invalid_type"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "invalid_type"),
    ({"messages": [{"content": "no role"}]}, "messages[0].role", "missing_required_parameter"),
    ({"messages": [{"role": "bot", "content": "x"}]}, "messages[0].role", None),
    (
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
        "messages[0].content[0].type",
        "unsupported_value",
    ),
    ({"stream_options": "all"}, "stream_options", "invalid_type"),
    ({"max_tokens": "many"}, "max_tokens", "invalid_type"),
    ({"max_tokens": 0.5}, "max_tokens", "invalid_type"),
    ({"n": 2}, "n", "unsupported_value"),
    ({"stop": [f"s{i}" for i in range(65)]}, "stop", "unsupported_value"),
    ({"stream_options": {"include_usage": "yes"}}, "stream_options.include_usage", "invalid_type"),
]

# What the upstream does before the first piece, and the code of the 502 that comes of it.
FAILING = [
    ("[[status code=500]]", "upstream_error"),
    ("[[status code=502]]", "upstream_error"),
    ("[[status code=400]]", "upstream_error"),
    ("[[error_200]]", "upstream_error"),
    ("[[html_200]]", "upstream_invalid_response"),
    ("[[empty]]", "upstream_invalid_response"),
    ("[[redirect]]", "upstream_error"),
    ("[[reset_before_headers]]", "upstream_error"),
    ("[[truncate after=0 framing=close how=fin at=line]]", "upstream_truncated"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "param", "code"), BAD_BODIES, ids=[param for _, param, _ in BAD_BODIES]
)
def test_a_bad_body_is_refused_with_the_field_at_fault(
    client: OpenAI, fault: dict[str, Any], param: str, code: str | None, stream: bool
) -> None:
    body: Any = {"model": MODEL, "messages": SdkQuestion("[[complete]]").messages, **fault}
    with pytest.raises(BadRequestError) as caught:
        client.chat.completions.create(**body, stream=stream)
    assert (caught.value.status_code, caught.value.type) == (400, "invalid_request_error")
    assert caught.value.param == param
    if code is not None:
        assert caught.value.code == code
    assert caught.value.response.headers["x-should-retry"] == "false"


def test_a_prompt_just_below_the_limit_passes_whole(client: OpenAI, fitten: FittenProcess) -> None:
    question = SdkQuestion("[[complete]]" + "x" * (CONTEXT - 1000))
    answer = client.chat.completions.create(model=MODEL, messages=question.messages)
    assert answer.choices[0].finish_reason == "stop"
    (call,) = fitten.calls(question)
    assert "x" * (CONTEXT - 1000) in call["body"]["inputs"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_beyond_the_limit_is_refused_not_cut(
    client: OpenAI, fitten: FittenProcess, stream: bool
) -> None:
    question = SdkQuestion("x" * CONTEXT)
    create: Any = client.chat.completions.create
    with pytest.raises(BadRequestError) as caught:
        create(model=MODEL, messages=question.messages, stream=stream)
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == "messages"
    assert fitten.calls(question) == []


@pytest.mark.parametrize("stream", [False, True])
def test_a_wrong_key_is_refused_and_not_tried_again(
    gateway: SdkGateway, fitten: FittenProcess, stream: bool
) -> None:
    question = SdkQuestion("[[complete]]")
    with (
        OpenAI(
            base_url=gateway.base_url, api_key="sk-not-known-here-1234", max_retries=2
        ) as client,
        pytest.raises(AuthenticationError) as caught,
    ):
        client.chat.completions.create(model=MODEL, messages=question.messages, stream=stream)
    error = caught.value
    assert (error.status_code, error.code) == (401, "invalid_api_key")
    assert error.type == "invalid_request_error"
    assert "sk-not-known" not in error.message
    assert error.response.headers["www-authenticate"] == "Bearer"
    assert error.response.headers["x-should-retry"] == "false"
    assert error.request.headers["x-stainless-retry-count"] == "0"
    assert fitten.calls(question) == []


async def test_a_wrong_key_is_refused_to_the_async_client(gateway: SdkGateway) -> None:
    async with AsyncOpenAI(base_url=gateway.base_url, api_key="sk-not-known-here-1234") as client:
        with pytest.raises(AuthenticationError) as caught:
            await client.models.list()
    assert caught.value.code == "invalid_api_key"


def test_an_unknown_url_is_not_found(client: OpenAI) -> None:
    with pytest.raises(NotFoundError) as caught:
        client.get("/nothing/here", cast_to=object)
    assert caught.value.type == "invalid_request_error"
    assert "/v1/nothing/here" in caught.value.message


def test_a_wrong_method_is_an_error(client: OpenAI) -> None:
    with pytest.raises(APIStatusError) as caught:
        client.get("/chat/completions", cast_to=object)
    assert (caught.value.status_code, caught.value.code) == (405, "method_not_allowed")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("marker", "code"), FAILING)
def test_an_upstream_that_fails_before_the_first_piece_is_a_502(
    client: OpenAI, marker: str, code: str, stream: bool
) -> None:
    create: Any = client.chat.completions.create
    with pytest.raises(InternalServerError) as caught:
        create(model=MODEL, messages=SdkQuestion(marker).messages, stream=stream)
    error = caught.value
    assert (error.status_code, error.type, error.code) == (502, "server_error", code)
    assert error.request_id == error.response.headers["x-request-id"]
    assert not re.search(r"<html|nginx|made up|http://", str(error))


@pytest.mark.parametrize(
    "marker", ["[[error_middle]]", "[[reset after=3]]", "[[truncate framing=close how=fin]]"]
)
def test_a_broken_answer_is_never_a_whole_one(client: OpenAI, marker: str) -> None:
    with pytest.raises(InternalServerError) as caught:
        client.chat.completions.create(model=MODEL, messages=SdkQuestion(marker).messages)
    assert caught.value.status_code == 502


def test_a_504_of_the_upstream_stays_one(client: OpenAI) -> None:
    with pytest.raises(InternalServerError) as caught:
        client.chat.completions.create(
            model=MODEL, messages=SdkQuestion("[[status code=504]]").messages
        )
    assert (caught.value.status_code, caught.value.code) == (504, "upstream_timeout")


def test_beyond_the_rate_limit_requests_are_refused(
    limited_client: OpenAI, fitten: FittenProcess
) -> None:
    for remaining in ("1", "0"):
        raw = limited_client.chat.completions.with_raw_response.create(
            model=MODEL, messages=SdkQuestion("[[complete]]").messages
        )
        assert raw.headers["x-ratelimit-limit-requests"] == "2"
        assert raw.headers["x-ratelimit-remaining-requests"] == remaining
    refused = SdkQuestion("[[complete]]")
    with pytest.raises(RateLimitError) as caught:
        limited_client.chat.completions.create(model=MODEL, messages=refused.messages)
    error = caught.value
    assert (error.status_code, error.code) == (429, "rate_limit_exceeded")
    assert error.type == "requests"
    headers = error.response.headers
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert 0 < int(headers["retry-after"]) <= 60
    assert 0 < int(headers["retry-after-ms"]) <= 60_000
    assert headers["x-should-retry"] == "true"
    assert error.request_id
    assert fitten.calls(refused) == []
