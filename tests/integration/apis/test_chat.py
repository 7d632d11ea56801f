"""POST /v1/chat/completions: frames and objects as wire rule D1 has them."""

from __future__ import annotations

import time
from typing import Any

import pytest

from emulator import Emulator
from tests.integration.peer import upstream_call
from tests.support import Gateway, content

USAGE = {
    "prompt_tokens": 42,
    "completion_tokens": 5,
    "total_tokens": 47,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}


def choice(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


async def test_a_stream_holds_the_whole_answer_and_ends_with_done(gateway: Gateway) -> None:
    frames = await gateway.stream("[[count n=5]]")
    assert content(frames) == "w0 w1 w2 w3 w4 "
    assert frames[-1] == "[DONE]"


async def test_a_stream_is_role_then_pieces_then_reason_then_done(gateway: Gateway) -> None:
    frames = await gateway.stream("[[count n=2]]")
    assert [frame["choices"] for frame in frames[:-1]] == [
        [choice({"role": "assistant", "content": ""})],
        [choice({"content": "w0 "})],
        [choice({"content": "w1 "})],
        [choice({}, "stop")],
    ]
    assert frames[-1] == "[DONE]"


async def test_a_stream_has_the_headers_that_keep_proxies_from_holding_it(gateway: Gateway) -> None:
    headers = {"Accept-Encoding": "gzip, deflate, br"}
    async with gateway.post_chat("[[say]]", headers, stream=True) as response:
        await response.read()
        assert response.headers.getall("Content-Type") == ["text/event-stream; charset=utf-8"]
        assert response.headers.getall("Cache-Control") == ["no-cache, no-transform"]
        assert response.headers.getall("X-Accel-Buffering") == ["no"]
        assert "Content-Length" not in response.headers
        assert "Content-Encoding" not in response.headers
        assert response.headers["openai-version"] == "2020-10-01"
        assert response.headers["openai-processing-ms"].isdigit()
        assert response.headers["x-request-id"]


async def test_a_stream_is_data_lines_with_line_feeds_only(gateway: Gateway) -> None:
    async with gateway.post_chat("[[count n=3]]", stream=True) as response:
        raw = await response.read()
    assert b"\r" not in raw
    assert raw.endswith(b"data: [DONE]\n\n")
    assert all(line.startswith(b"data: ") for line in raw.split(b"\n") if line)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("[[heartbeats]]", "Hello, world!\n"),
        ("[[heartbeat_word]]", "max_heartbeat_interval\n- heartbeat\nheartbeat"),
        ("[[say text=the%20%20max_heartbeat_interval piece=9]]", "the  max_heartbeat_interval"),
        ("[[say text=123456789heartbeat piece=9]]", "123456789heartbeat"),
    ],
)
async def test_the_word_heartbeat_is_text_where_an_answer_has_it(
    gateway: Gateway, said: str, text: str
) -> None:
    assert content(await gateway.stream(said)) == text
    _, answer = await gateway.whole(said)
    assert answer["choices"][0]["message"]["content"] == text


async def test_usage_comes_in_one_last_frame_if_asked_for(gateway: Gateway) -> None:
    frames = await gateway.stream(
        "[[heartbeats]]", model="fitten-code", stream_options={"include_usage": True}
    )
    *earlier, last, done = frames
    assert done == "[DONE]"
    assert last["choices"] == []
    assert last["usage"] == USAGE
    assert earlier[-1]["choices"] == [choice({}, "stop")]
    assert all(frame["usage"] is None for frame in earlier)


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}])
async def test_no_frame_has_usage_unless_asked(gateway: Gateway, options: Any) -> None:
    frames = await gateway.stream("[[say]]", stream_options=options)
    assert all("usage" not in frame and frame["choices"] for frame in frames[:-1])


async def test_id_created_and_model_stay_the_same_in_all_frames(gateway: Gateway) -> None:
    before = int(time.time())
    frames = await gateway.stream(
        "[[count n=5]]", model="DeepSeek V3", stream_options={"include_usage": True}
    )
    heads = {
        (frame["id"], frame["object"], frame["created"], frame["model"]) for frame in frames[:-1]
    }
    assert len(heads) == 1
    identity, kind, created, model = heads.pop()
    assert identity.startswith("chatcmpl-")
    assert kind == "chat.completion.chunk"
    assert before <= created <= time.time()
    assert model == "DeepSeek V3"


async def test_every_answer_has_an_id_of_its_own(gateway: Gateway) -> None:
    first = await gateway.stream("[[say]]")
    second = await gateway.stream("[[say]]")
    assert first[0]["id"] != second[0]["id"]


@pytest.mark.parametrize("parameters", [{}, {"stream": False}, {"stream": None}])
async def test_the_whole_answer_is_one_object(gateway: Gateway, parameters: Any) -> None:
    before = int(time.time())
    async with gateway.post_chat("[[tracedata]]", model="fitten-code", **parameters) as response:
        answer = await response.json()
        assert response.status == 200
        assert response.content_type == "application/json"
        assert response.headers["Content-Length"]
    assert answer.pop("id").startswith("chatcmpl-")
    assert before <= answer.pop("created") <= time.time()
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "Hello, world!\n",
        "refusal": None,
        "annotations": [],
    }
    assert answer == {
        "object": "chat.completion",
        "model": "fitten-code",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": USAGE,
        "system_fingerprint": None,
        "service_tier": "default",
    }


@pytest.mark.parametrize(
    ("scenario", "thoughts"), [("reasoning", "First, greet. Done."), ("thinking", "Hm.")]
)
async def test_reasoning_comes_as_reasoning_content_and_not_as_content(
    gateway: Gateway, scenario: str, thoughts: str
) -> None:
    frames = await gateway.stream(f"[[{scenario}]]")
    assert content(frames, "reasoning_content") == thoughts
    assert content(frames) == "Hello, world!\n"
    _, answer = await gateway.whole(f"[[{scenario}]]")
    message = answer["choices"][0]["message"]
    assert message["reasoning_content"] == thoughts
    assert message["content"] == "Hello, world!\n"


async def test_the_whole_answer_and_the_stream_have_the_same_text(gateway: Gateway) -> None:
    text = "[[say text=%E4%BD%A0%E5%A5%BD%F0%9F%91%8B%0A%3Cbr%3E%20%22q%22%20%00x piece=3]]"
    _, answer = await gateway.whole(text)
    said = answer["choices"][0]["message"]["content"]
    assert said == content(await gateway.stream(text))
    assert said.startswith('你好👋\n<br> "q" ')


async def test_token_counts_that_are_strings_become_numbers(gateway: Gateway) -> None:
    _, answer = await gateway.whole("[[usage_strings]]")
    assert answer["usage"] == USAGE


@pytest.mark.parametrize("scenario", ["no_usage", "usage_null"])
async def test_without_token_counts_an_estimate_is_given(gateway: Gateway, scenario: str) -> None:
    _, answer = await gateway.whole(f"[[{scenario}]]")
    usage = answer["usage"]
    assert usage["prompt_tokens"] > 0
    assert usage["completion_tokens"] > 0
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


async def test_the_first_piece_arrives_before_the_last_exists(
    gateway: Gateway, emulator: Emulator
) -> None:
    async with gateway.post_chat("[[slow first=0 gap=0.3 n=2]]", stream=True) as response:
        raw = b""
        async for data in response.content.iter_any():
            raw += data
            if b"w0 " in raw:
                break
        call = await upstream_call(emulator)
        assert not call.done
        assert b"w1 " not in raw


async def test_a_line_of_megabytes_arrives_whole(gateway: Gateway) -> None:
    frames = await gateway.stream("[[long_line size=3000000]]")
    assert content(frames) == "x" * 3_000_000
    assert frames[-1] == "[DONE]"


async def test_many_lines_in_one_write_arrive_in_order(gateway: Gateway) -> None:
    frames = await gateway.stream("[[burst n=500]]")
    assert content(frames) == "".join(f"w{i} " for i in range(500))


async def test_a_compressed_upstream_answer_is_read(gateway: Gateway) -> None:
    assert content(await gateway.stream("[[gzip]]")) == "Hello, world!\n"


async def test_what_has_no_effect_is_named_once_in_a_header(gateway: Gateway) -> None:
    parameters: dict[str, Any] = {
        "temperature": 0.7,
        "top_p": 1,
        "seed": 7,
        "logit_bias": {"50256": -100},
        "some_new_parameter": {"a": 1},
        "presence_penalty": None,
        "user": "u1",
        "max_tokens": 5,
    }
    for stream in (False, True):
        async with gateway.post_chat("[[say]]", stream=stream, **parameters) as response:
            assert response.status == 200
            (named,) = response.headers.getall("x-fitten-ignored-params")
            names = ["temperature", "top_p", "seed", "logit_bias", "some_new_parameter"]
            assert named.split(", ") == names


async def test_nothing_is_named_when_all_has_effect(gateway: Gateway) -> None:
    async with gateway.post_chat("[[say]]", stream=False, stop=["x"]) as response:
        assert "x-fitten-ignored-params" not in response.headers


async def test_a_parameter_name_cannot_forge_a_header(gateway: Gateway) -> None:
    body = {"messages": [{"role": "user", "content": "[[say]]"}], "x\r\nset-cookie: a=b": 1}
    url = f"{gateway.url}/v1/chat/completions"
    async with gateway.http.post(url, json=body) as response:
        assert response.status == 200
        assert "set-cookie" not in response.headers


@pytest.mark.parametrize("n", [0, 2, -1])
async def test_more_than_one_choice_is_refused(gateway: Gateway, n: int) -> None:
    status, answer = await gateway.whole("[[say]]", n=n)
    assert status == 400
    assert answer["error"]["code"] == "unsupported_value"
    assert answer["error"]["param"] == "n"
