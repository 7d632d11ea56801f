"""POST /v1/messages through real sockets: prompts, events, errors, headers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from emulator import Emulator
from tests.conftest import StartGateway
from tests.images import data_url, png
from tests.integration.peer import upstream_call
from tests.integration.scripted_fitten import PAUSE, VALUE, running_fitten
from tests.support import KEY, Gateway, running_gateway
from tests.unit.apis.anthropic.test_messages_response import collected, parsed
from tests.waiting import eventually

CITY: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
TOOLS: list[dict[str, Any]] = [
    {"name": "get_weather", "description": "Tells the weather.", "input_schema": CITY},
    {"name": "clock", "description": "Tells the time.", "input_schema": {"type": "object"}},
]
ASKED = "The weather in Paris for 3 days?"
PATHS = ["/v1/messages", "/v1/messages?beta=true", "/v1/messages/", "/messages", "/v1/v1/messages"]


def body(text: str, **members: Any) -> dict[str, Any]:
    return {
        "model": "fitten-code",
        "max_tokens": 1000,
        "messages": [{"role": "user", "content": text}],
        **members,
    }


async def whole(
    gateway: Gateway, text: str, path: str = "/v1/messages", **members: Any
) -> dict[str, Any]:
    async with gateway.http.post(gateway.url + path, json=body(text, **members)) as response:
        assert response.status == 200, await response.text()
        answer: dict[str, Any] = await response.json()
        return answer


async def events(
    gateway: Gateway, text: str, path: str = "/v1/messages", **members: Any
) -> list[dict[str, Any]]:
    given = body(text, stream=True, **members)
    async with gateway.http.post(gateway.url + path, json=given) as response:
        assert response.status == 200, await response.text()
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        return parsed(await response.read())


async def refused(
    gateway: Gateway, text: str, **members: Any
) -> tuple[int, dict[str, Any], dict[str, str]]:
    url = f"{gateway.url}/v1/messages"
    async with gateway.http.post(url, json=body(text, **members)) as response:
        answer = await response.json()
        assert answer.keys() == {"type", "error", "request_id"}
        assert answer["request_id"] == response.headers["request-id"]
        return response.status, answer["error"], dict(response.headers)


def texts(message: dict[str, Any]) -> str:
    return "".join(block.get("text", "") for block in message["content"])


@pytest.mark.parametrize("path", PATHS)
async def test_an_answer_is_the_same_in_both_forms(gateway: Gateway, path: str) -> None:
    answer = await whole(gateway, "[[count n=3]]", path)
    assert answer.keys() == {
        *("id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"),
    }
    assert answer["content"] == [{"type": "text", "text": "w0 w1 w2 "}]
    assert (answer["model"], answer["stop_reason"]) == ("fitten-code", "end_turn")
    stream = collected(await events(gateway, "[[count n=3]]", path))
    assert stream == {**answer, "id": stream["id"]}
    assert stream["id"] != answer["id"]


async def test_the_usage_comes_first_as_an_estimate_and_last_as_the_truth(gateway: Gateway) -> None:
    first, *_, delta, _ = await events(gateway, "[[say]]")
    assert first["message"]["usage"]["input_tokens"] > 1
    assert delta["usage"]["input_tokens"] > 1
    assert delta["usage"]["output_tokens"] > 0


@pytest.mark.parametrize("header", ["Authorization", "X-Api-Key"])
async def test_the_key_stands_in_either_header(gateway: Gateway, header: str) -> None:
    key = f"Bearer {KEY}" if header == "Authorization" else KEY
    url = f"{gateway.url}/v1/messages?beta=true"
    async with (
        aiohttp.ClientSession() as http,
        http.post(url, json=body("[[say]]"), headers={header: key}) as response,
    ):
        assert response.status == 200
        assert response.headers["request-id"] == response.headers["x-request-id"]
        assert response.headers["anthropic-ratelimit-requests-limit"] == "10000"
        assert int(response.headers["anthropic-ratelimit-requests-remaining"]) < 10_000
        assert response.headers["anthropic-ratelimit-requests-reset"].endswith("Z")


async def test_an_agents_first_request_is_a_prompt(gateway: Gateway, emulator: Emulator) -> None:
    """The shape in which Claude Code begins: blocks, a remark of the system, many members."""
    given = {
        "model": "fitten-code",
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=0; cch=00000;"},
            {"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "\nUse tools.", "cache_control": {"type": "ephemeral"}},
        ],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "<reminder>\nToday is a day.\n</reminder>\n"},
                    {"type": "text", "text": "Say hello", "cache_control": {"type": "ephemeral"}},
                ],
            },
            {"role": "system", "content": "Types of agents: none."},
        ],
        "tools": [
            *TOOLS,
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 8},
        ],
        "metadata": {"user_id": '{"session_id":"0"}'},
        "max_tokens": 32_000,
        "thinking": {"type": "adaptive"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"effort": "high"},
        "stream": True,
    }
    headers = {
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "interleaved-thinking-2025-05-14,unheard-of-2026-01-01",
        "Accept": "application/json",
    }
    url = f"{gateway.url}/v1/messages?beta=true"
    async with gateway.http.post(url, json=given, headers=headers) as response:
        assert response.status == 200, await response.text()
        assert "x-fitten-ignored-params" not in response.headers
        collected(parsed(await response.read()))
    prompt = (await upstream_call(emulator)).body["inputs"]
    assert "billing" not in prompt
    assert prompt.startswith("<|system|>\nYou are an agent.\n\n\nUse tools.\n\n")
    assert "not available here, so do not use them: web_search.\n" in prompt
    assert prompt.index("Say hello") < prompt.index("<|system|>\nTypes of agents: none.")


async def test_an_agents_later_request_has_calls_and_results(
    gateway: Gateway, emulator: Emulator
) -> None:
    image = data_url(png()).partition(",")[2]
    source = {"type": "base64", "data": image, "media_type": "image/png"}
    messages: list[Any] = [
        {"role": "user", "content": "go on"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "SECRET THOUGHT", "signature": ""},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"path": "a.png"}},
                {
                    "type": "tool_use",
                    "id": "toolu_2",
                    "name": "Run",
                    "input": {"__unparsedToolInput": {"raw": '{"command": "ls"', "len": 16}},
                },
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "tool_use_id": "toolu_2",
                    "type": "tool_result",
                    "content": "could not be parsed",
                    "is_error": True,
                },
                {
                    "tool_use_id": "toolu_1",
                    "type": "tool_result",
                    "content": [{"type": "image", "source": source}],
                    "cache_control": {"type": "ephemeral"},
                },
                {"tool_use_id": "toolu_0", "type": "tool_result", "content": "an orphan"},
            ],
        },
    ]
    await whole(gateway, "", messages=messages, tools=TOOLS)
    prompt = (await upstream_call(emulator)).body["inputs"]
    assert "SECRET THOUGHT" not in prompt
    assert '{"command": "ls"' in prompt
    assert f"![Base64 Image](data:image/png;base64,{image})" in prompt
    places = [prompt.index(text) for text in (" Read toolu_1 ok>", " Run toolu_2 error>")]
    assert places == sorted(places)
    assert "toolu_0 ok>\nan orphan\n" in prompt


@pytest.mark.parametrize("marker", ["", "[[call notation=parameters]]"])
async def test_a_turn_with_a_tool_runs_to_its_answer(gateway: Gateway, marker: str) -> None:
    messages: list[Any] = [{"role": "user", "content": f"{ASKED} {marker}"}]
    first = await whole(gateway, "", messages=messages, tools=TOOLS)
    stream = collected(await events(gateway, "", messages=messages, tools=TOOLS))
    for answer in (first, stream):
        (call,) = [block for block in answer["content"] if block["type"] == "tool_use"]
        assert (call["name"], call["input"]) == ("get_weather", {"city": "Paris", "days": 3})
        assert answer["stop_reason"] == "tool_use"
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": "sunny"}
    messages += [
        {"role": "assistant", "content": stream["content"]},
        {"role": "user", "content": [result]},
    ]
    last = await whole(gateway, "", messages=messages, tools=TOOLS)
    assert (texts(last), last["stop_reason"]) == ("get_weather says: sunny\n", "end_turn")


async def test_parallel_calls_have_ids_of_their_own(gateway: Gateway) -> None:
    given = f"{ASKED} [[call n=2 notation=attributes]]"
    stream = collected(await events(gateway, given, tools=TOOLS))
    calls = [block for block in stream["content"] if block["type"] == "tool_use"]
    assert [call["name"] for call in calls] == ["get_weather", "clock"]
    assert len({call["id"] for call in calls}) == 2
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    single = await whole(gateway, given, tools=TOOLS, tool_choice=choice)
    assert len([block for block in single["content"] if block["type"] == "tool_use"]) == 1


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"type": "any"}, "call at least one tool"),
        ({"type": "tool", "name": "clock"}, "call the tool clock"),
    ],
)
async def test_the_choice_reaches_the_model(gateway: Gateway, choice: Any, said: str) -> None:
    answer = await whole(gateway, "[[echo]]", tools=TOOLS, tool_choice=choice)
    assert said in json.loads(texts(answer))["blocks"][0][1]


async def test_a_stop_sequence_is_told(gateway: Gateway) -> None:
    answer = await whole(gateway, "[[count n=9]]", stop_sequences=["w7", "w4"])
    assert texts(answer) == "w0 w1 w2 w3 "
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", "w4")
    stream = collected(await events(gateway, "[[count n=9]]", stop_sequences=["w7", "w4"]))
    assert stream == {**answer, "id": stream["id"]}


async def test_the_limit_of_tokens_ends_the_answer(gateway: Gateway) -> None:
    answer = await whole(gateway, "[[count n=99]]", max_tokens=4)
    assert (answer["stop_reason"], answer["usage"]["output_tokens"]) == ("max_tokens", 4)
    assert texts(answer)


async def test_an_answer_that_stops_at_once_has_a_block(gateway: Gateway) -> None:
    answer = await whole(gateway, "[[count n=9]]", stop_sequences=["w0"])
    assert answer["content"] == [{"type": "text", "text": ""}]
    stream = collected(await events(gateway, "[[count n=9]]", stop_sequences=["w0"]))
    assert stream["content"] == answer["content"]


@pytest.mark.parametrize("wanted", [{"type": "enabled", "budget_tokens": 2000}, None])
async def test_thoughts_are_blocks_only_if_they_are_wanted(gateway: Gateway, wanted: Any) -> None:
    answer = await whole(gateway, "[[reasoning]]", thinking=wanted)
    stream = collected(await events(gateway, "[[reasoning]]", thinking=wanted))
    for message in (answer, stream):
        assert texts(message) == "Hello, world!\n"
        kinds = [block["type"] for block in message["content"]]
        assert kinds == (["thinking", "text"] if wanted else ["text"])
    if wanted:
        thought = stream["content"][0]
        assert thought["thinking"] == "First, greet. Done."
        assert thought["signature"]


async def test_an_answer_in_json(gateway: Gateway, emulator: Emulator) -> None:
    schema = {"type": "object", "properties": {"title": {"type": "string"}}}
    said = quote('{"title": "A day"}', safe="")
    config = {"effort": "high", "format": {"type": "json_schema", "schema": schema}}
    answer = await whole(gateway, f"[[say text={said}]]", output_config=config, tools=[])
    assert json.loads(texts(answer)) == {"title": "A day"}
    assert '"title"' in (await upstream_call(emulator)).body["inputs"]


async def test_an_answer_that_was_begun_goes_on(gateway: Gateway, emulator: Emulator) -> None:
    messages = [
        {"role": "user", "content": "Count. [[count n=2]]"},
        {"role": "assistant", "content": [{"type": "text", "text": "I count: "}]},
    ]
    answer = await whole(gateway, "", messages=messages)
    assert texts(answer).startswith("w0 ")
    inputs = (await upstream_call(emulator)).body["inputs"]
    assert inputs.endswith("<|assistant|>\nI count: ")


@pytest.mark.parametrize(
    ("text", "members", "status", "kind", "retry"),
    [
        ("a", {"messages": [{"role": "tool"}]}, 400, "invalid_request_error", "false"),
        ("a", {"model": "nothing-like-it"}, 404, "not_found_error", "false"),
        ("[[status code=500]]", {}, 502, "api_error", "true"),
        ("x" * 400_000, {}, 400, "invalid_request_error", "false"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_before_the_answer_has_its_status(
    gateway: Gateway,
    text: str,
    members: dict[str, Any],
    status: int,
    kind: str,
    retry: str,
    stream: bool,
) -> None:
    given, error, headers = await refused(gateway, text, stream=stream, **members)
    assert (given, error["type"]) == (status, kind)
    assert headers["x-should-retry"] == retry
    assert error["message"]


async def test_a_field_at_fault_is_named(gateway: Gateway) -> None:
    document = {"type": "document", "source": {"type": "text", "data": "a"}}
    messages = [{"role": "user", "content": [document]}]
    _, error, _ = await refused(gateway, "", messages=messages)
    assert error["message"].startswith("messages[0].content[0].type: ")


async def test_a_wrong_key_is_an_authentication_error(gateway: Gateway) -> None:
    url = f"{gateway.url}/v1/messages"
    headers = {"x-api-key": "wrong-key-0123456789"}
    async with (
        aiohttp.ClientSession() as http,
        http.post(url, json=body("a"), headers=headers) as response,
    ):
        answer = await response.json()
        assert (response.status, answer["error"]["type"]) == (401, "authentication_error")
        assert response.headers["x-should-retry"] == "false"


async def test_overload_has_a_status_of_its_own_also_in_the_log(
    start_gateway: StartGateway, emulator: Emulator, log_events: list[Any]
) -> None:
    pool = {"max_concurrent": 1, "queue_length": 0}
    gateway = await start_gateway(fitten={"pool": pool})
    url = f"{gateway.url}/v1/messages"
    async with gateway.http.post(url, json=body("[[endless]]", stream=True)) as response:
        await response.content.readuntil(b"content_block_delta")
        status, error, headers = await refused(gateway, "a")
    assert (status, error["type"]) == (529, "overloaded_error")
    assert headers["x-should-retry"] == "true"
    assert int(headers["Retry-After"]) >= 1
    assert next(e["status"] for e in log_events if e["event"] == "request") == 529


@pytest.mark.parametrize("marker", ["[[error_middle]]", "[[reset]]", "[[truncate how=fin]]"])
async def test_an_error_in_the_answer_is_an_event(gateway: Gateway, marker: str) -> None:
    *before, last = await events(gateway, marker)
    kinds = [event["type"] for event in before]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert set(kinds[2:]) == {"content_block_delta"}
    assert last["type"] == "error"
    assert last["error"]["type"] == "api_error"
    assert last["error"]["message"]


async def test_a_client_that_leaves_ends_the_upstream(gateway: Gateway, emulator: Emulator) -> None:
    url = f"{gateway.url}/v1/messages"
    async with gateway.http.post(url, json=body("[[endless]]", stream=True)) as response:
        await response.content.readuntil(b"content_block_delta")
    call = await upstream_call(emulator)
    await eventually(lambda: call.closed_at is not None)


async def read_pings(response: aiohttp.ClientResponse, count: int) -> bytes:
    ping = b'event: ping\ndata: {"type":"ping"}\n\n'
    return b"".join([await response.content.readuntil(ping) for _ in range(count)])


async def test_pings_bridge_the_silence(start_gateway: StartGateway, emulator: Emulator) -> None:
    gateway = await start_gateway(stream={"grace": 0.05, "keep_alive": 0.05})
    given = body("[[slow first=3600 gap=3600 n=2]]", stream=True)
    async with gateway.http.post(f"{gateway.url}/v1/messages", json=given) as response:
        raw = await read_pings(response, 3)
        emulator.release()
        raw += await response.content.readuntil(b'"w0 "}}\n\n')
        raw += await read_pings(response, 2)
        emulator.release()
        raw += await response.read()
    found = parsed(raw)
    assert [event["type"] for event in found[:2]] == ["message_start", "ping"]
    message = collected([event for event in found if event["type"] != "ping"])
    assert texts(message) == "w0 w1 "


@pytest.mark.parametrize(
    "unseen",
    [{"reasoning_delta": "Hm."}, f'<call-{VALUE} get_weather>\n{{"city": "Oslo", "da'],
    ids=["thoughts", "call"],
)
async def test_pings_bridge_what_the_client_does_not_get(unseen: Any, tmp_path: Path) -> None:
    """Thoughts that are not wanted, and the beginning of a call, which is held back."""
    waits = {"grace": 0.05, "keep_alive": 0.05}
    async with (
        running_fitten() as (fitten, url),
        running_gateway(url, tmp_path, stream=waits) as gateway,
    ):
        rest = "Hello" if isinstance(unseen, dict) else f'ys": 2}}\n</call-{VALUE}>'
        fitten.answers += [[unseen, PAUSE, rest]]
        given = body("hi", stream=True, tools=TOOLS)
        async with gateway.http.post(f"{gateway.url}/v1/messages", json=given) as response:
            raw = await read_pings(response, 3)
            fitten.go_on()
            raw += await response.read()
    message = collected([event for event in parsed(raw) if event["type"] != "ping"])
    (block,) = message["content"]
    assert block["type"] == ("text" if isinstance(unseen, dict) else "tool_use")


@pytest.mark.parametrize("base", ["/v1", "", "/v1/v1"])
async def test_models_have_anthropics_shape_by_header(gateway: Gateway, base: str) -> None:
    version = {"anthropic-version": "2023-06-01"}
    async with gateway.http.get(f"{gateway.url}{base}/models", headers=version) as response:
        page = await response.json()
        assert "openai-version" not in response.headers
        assert response.headers["request-id"]
    assert page["has_more"] is False
    ids = [model["id"] for model in page["data"]]
    assert (page["first_id"], page["last_id"]) == (ids[0], ids[-1])
    url = f"{gateway.url}{base}/models/{quote(ids[0])}"
    async with gateway.http.get(url, headers=version) as response:
        assert await response.json() == page["data"][0]
    async with gateway.http.get(f"{gateway.url}{base}/models") as response:
        assert (await response.json())["object"] == "list"
    url = f"{gateway.url}{base}/models/nothing"
    async with gateway.http.get(url, headers=version) as response:
        assert response.status == 404
        assert (await response.json())["error"]["type"] == "not_found_error"


async def test_other_methods_are_refused_in_the_dialect(gateway: Gateway) -> None:
    async with gateway.http.get(f"{gateway.url}/v1/messages") as response:
        assert response.status == 405
        assert response.headers["Allow"] == "HEAD, OPTIONS, POST"
        assert (await response.json())["type"] == "error"
