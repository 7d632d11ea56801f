"""Ollama's routes through real sockets: prompts, lines, tools, models, errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from emulator import Emulator
from tests.conftest import StartGateway
from tests.images import data_url, png
from tests.integration.peer import upstream_call
from tests.support import Gateway
from tests.unit.apis.ollama.test_response import anonymous, collected, object_of, parsed
from tests.waiting import eventually

CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
}
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": "get_weather", "parameters": CITY}},
    {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}},
]
ASKED = "The weather in Paris for 3 days?"
QWEN = "<|fim_prefix|>def f(<|fim_suffix|>):<|fim_middle|>"
CHAT = "/api/chat"
GENERATE = "/api/generate"


def chat(text: str, **members: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": "fitten-code:latest", "messages": messages, **members}


def generate(text: str, **members: Any) -> dict[str, Any]:
    return {"model": "fitten-code:latest", "prompt": text, **members}


def body_of(path: str, text: str, **members: Any) -> dict[str, Any]:
    return chat(text, **members) if path == CHAT else generate(text, **members)


async def whole(gateway: Gateway, path: str, given: dict[str, Any]) -> dict[str, Any]:
    body = {**given, "stream": False}
    async with gateway.http.post(gateway.url + path, json=body) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "application/json"
        return object_of(await response.read())


async def lines(gateway: Gateway, path: str, given: dict[str, Any]) -> list[dict[str, Any]]:
    async with gateway.http.post(gateway.url + path, json=given) as response:
        assert response.status == 200, await response.text()
        assert response.headers["Content-Type"] == "application/x-ndjson"
        return parsed(await response.read())


async def refused(gateway: Gateway, path: str, given: dict[str, Any]) -> tuple[int, str]:
    async with gateway.http.post(gateway.url + path, json=given) as response:
        answer = await response.json()
        assert answer.keys() == {"error"}
        assert response.content_type == "application/json"
        sentence: str = answer["error"]
        return response.status, sentence


async def got(gateway: Gateway, path: str) -> Any:
    async with gateway.http.get(gateway.url + path) as response:
        assert response.status == 200
        return await response.json()


@pytest.mark.parametrize("path", [CHAT, GENERATE])
@pytest.mark.parametrize("base", ["", "/v1"])
async def test_an_answer_is_the_same_in_both_forms(gateway: Gateway, path: str, base: str) -> None:
    given = body_of(path, "[[count n=3]]")
    answer = await whole(gateway, base + path, given)
    assert answer["content"] == "w0 w1 w2 "
    assert (answer["model"], answer["done_reason"]) == ("fitten-code:latest", "stop")
    assert answer["prompt_eval_count"] > 1
    assert answer["eval_count"] > 0
    assert anonymous(collected(await lines(gateway, base + path, given))) == anonymous(answer)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_completion_needs_no_known_model(
    gateway: Gateway, emulator: Emulator, stream: bool
) -> None:
    """Editors name the model whose notation they write."""
    for given in ({"prompt": "def f(", "suffix": "):"}, {"prompt": QWEN, "raw": True}):
        asked = {"model": "codellama:7b-code", **given}
        answer = (
            collected(await lines(gateway, GENERATE, asked))
            if stream
            else await whole(gateway, GENERATE, asked)
        )
        assert answer["content"] == "completed()"
        assert (answer["model"], answer["done_reason"]) == ("codellama:7b-code", "stop")
    assert not emulator.calls_to("/codeapi/chat_auth")


@pytest.mark.parametrize("marker", ["", "[[call notation=parameters]]"])
async def test_a_turn_with_a_tool_runs_to_its_answer(gateway: Gateway, marker: str) -> None:
    messages: list[Any] = [{"role": "user", "content": f"{ASKED} {marker}"}]
    given = {"messages": messages, "tools": TOOLS}
    first = await whole(gateway, CHAT, given)
    stream = collected(await lines(gateway, CHAT, given))
    for answer in (first, stream):
        (call,) = answer["calls"]
        assert call["function"]["name"] == "get_weather"
        assert call["function"]["arguments"] == {"city": "Paris", "days": 3}
        assert answer["done_reason"] == "stop"
    del call["id"]  # the Python client does not keep it
    messages += [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_name": "get_weather", "content": "sunny"},
    ]
    last = await whole(gateway, CHAT, given)
    assert (last["content"], last["done_reason"]) == ("get_weather says: sunny\n", "stop")


async def test_parallel_calls_are_lines_of_their_own(gateway: Gateway) -> None:
    given = chat(f"{ASKED} [[call n=2 notation=attributes]]", tools=TOOLS)
    found = [line for line in await lines(gateway, CHAT, given) if "message" in line]
    calls = [line["message"]["tool_calls"] for line in found if "tool_calls" in line["message"]]
    assert [[call["function"]["name"] for call in each] for each in calls] == [
        ["get_weather"],
        ["clock"],
    ]
    assert len({call["id"] for each in calls for call in each}) == 2


async def test_an_agents_later_request_is_a_prompt(gateway: Gateway, emulator: Emulator) -> None:
    image = data_url(png()).partition(",")[2]
    messages: list[Any] = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "what?", "images": [image]},
        {
            "role": "assistant",
            "content": "I look.",
            "thinking": "SECRET THOUGHT",
            "tool_calls": [
                {"function": {"name": "Read", "arguments": {"path": "a.png"}}},
                {"function": {"name": "Run", "arguments": {"command": "ls"}}},
            ],
        },
        {"role": "tool", "tool_name": "Run", "content": "a.png"},
        {"role": "tool", "tool_name": "Read", "content": "a picture"},
    ]
    await whole(gateway, CHAT, {"messages": messages, "tools": TOOLS})
    prompt = (await upstream_call(emulator)).body["inputs"]
    assert prompt.startswith("<|system|>\nBe short.")
    assert "SECRET THOUGHT" not in prompt
    assert f"![Base64 Image](data:image/png;base64,{image})" in prompt
    places = [prompt.index(text) for text in (" Read call_1 ok>", " Run call_2 ok>")]
    assert places == sorted(places)


async def test_options_end_the_answer(gateway: Gateway) -> None:
    for path in (CHAT, GENERATE):
        stopped = await whole(
            gateway, path, body_of(path, "[[count n=9]]", options={"stop": ["w4"]})
        )
        assert (stopped["content"], stopped["done_reason"]) == ("w0 w1 w2 w3 ", "stop")
        given = body_of(path, "[[count n=99]]", options={"num_predict": 4})
        cut = collected(await lines(gateway, path, given))
        assert (cut["done_reason"], cut["eval_count"]) == ("length", 4)


@pytest.mark.parametrize(("think", "thoughts"), [(None, True), (True, True), (False, False)])
async def test_thoughts_have_a_field_of_their_own(
    gateway: Gateway, think: bool | None, thoughts: bool
) -> None:
    for path in (CHAT, GENERATE):
        given = body_of(path, "[[reasoning]]", think=think)
        for answer in (
            await whole(gateway, path, given),
            collected(await lines(gateway, path, given)),
        ):
            assert answer["content"] == "Hello, world!\n"
            assert answer["thinking"] == ("First, greet. Done." if thoughts else "")


@pytest.mark.parametrize("form", [whole, lines])
@pytest.mark.parametrize("wanted", ["json", {"type": "object", "properties": {"title": {}}}])
async def test_an_answer_in_json(
    gateway: Gateway, emulator: Emulator, wanted: Any, form: Callable[..., Any]
) -> None:
    said = quote('```json\n{"title": "A day"}\n```', safe="")
    answer = await form(gateway, CHAT, chat(f"[[say text={said}]]", format=wanted))
    content = collected(answer)["content"] if form is lines else answer["content"]
    assert json.loads(content) == {"title": "A day"}
    assert "JSON" in (await upstream_call(emulator)).body["inputs"]


@pytest.mark.parametrize("members", [{}, {"keep_alive": "5m"}, {"keep_alive": -1, "stream": True}])
async def test_a_request_for_nothing_never_reaches_fitten(
    gateway: Gateway, emulator: Emulator, members: dict[str, Any]
) -> None:
    for path in (CHAT, GENERATE):
        given = {"model": "fitten-code:latest", **members}
        async with gateway.http.post(gateway.url + path, json=given) as response:
            assert (response.status, response.content_type) == (200, "application/json")
            answer = await response.json()
        assert (answer["done"], answer["done_reason"]) == (True, "load")
        status, sentence = await refused(gateway, path, {"model": "nothing-like-it"})
        assert (status, "'nothing-like-it' does not exist" in sentence) == (404, True)
    assert not emulator.calls_to("/codeapi/chat_auth")
    assert not emulator.calls_to("/codeapi/completion")


async def test_a_model_is_the_same_wherever_it_is_described(gateway: Gateway) -> None:
    """The window is one number: /v1/models, /api/show and /api/ps have it."""
    windows = {m["id"]: m["context_window"] for m in (await got(gateway, "/v1/models"))["data"]}
    listed = (await got(gateway, "/api/tags"))["models"]
    running = (await got(gateway, "/api/ps"))["models"]
    assert len(listed) == len(running) == len(windows)
    for model, also, window in zip(listed, running, windows.values(), strict=True):
        assert model["digest"] == also["digest"]
        assert also["context_length"] == window
        for member in ("model", "name"):
            body = {member: model["name"]}
            async with gateway.http.post(f"{gateway.url}/api/show", json=body) as response:
                shown = await response.json()
            information = shown["model_info"]
            architecture = information["general.architecture"]
            assert information[f"{architecture}.context_length"] == window
            assert shown["capabilities"] == model["capabilities"]


async def test_a_listed_name_works_in_every_dialect(gateway: Gateway) -> None:
    """VS Code reads the names here, and sends them to the route of OpenAI's dialect."""
    for model in (await got(gateway, "/api/tags"))["models"]:
        assert (await gateway.whole("[[say]]", model=model["name"]))[0] == 200


async def test_the_version_has_three_numbers(gateway: Gateway) -> None:
    version = (await got(gateway, "/api/version"))["version"]
    assert len([int(number) for number in version.split(".")]) == 3


async def test_a_model_that_is_not_there_is_not_shown(gateway: Gateway) -> None:
    assert (await refused(gateway, "/api/show", {"model": "nothing-like-it"}))[0] == 404
    assert (await refused(gateway, "/api/show", {}))[0] == 400


ABSENT = [
    *[("POST", f"/api/{name}") for name in ("pull", "push", "create", "copy")],
    ("DELETE", "/api/delete"),
    ("POST", "/api/embed"),
    ("POST", "/api/embeddings"),
    ("POST", "/api/blobs/sha256:0"),
]


@pytest.mark.parametrize(("method", "path"), ABSENT)
async def test_what_only_a_store_of_models_can_do_is_refused(
    gateway: Gateway, method: str, path: str
) -> None:
    async with gateway.http.request(
        method, gateway.url + path, json={"model": "llama3", "stream": True}
    ) as response:
        answer = await response.json()
        assert (response.status, answer.keys()) == (501, {"error"})
        assert answer["error"].startswith("This gateway ")
        assert response.headers["x-should-retry"] == "false"


async def test_no_file_of_a_model_exists(gateway: Gateway) -> None:
    async with gateway.http.head(f"{gateway.url}/api/blobs/sha256:0") as response:
        assert response.status == 501


@pytest.mark.parametrize("path", [CHAT, GENERATE])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("text", "members", "status"),
    [
        ("a", {"options": {"num_predict": "many"}}, 400),
        ("a", {"model": "nothing-like-it"}, 404),
        ("[[status code=500]]", {}, 502),
        ("x" * 400_000, {}, 400),
    ],
)
async def test_an_error_before_the_answer_has_its_status(
    gateway: Gateway, path: str, text: str, members: dict[str, Any], status: int, stream: bool
) -> None:
    given = body_of(path, text, stream=stream, **members)
    found, sentence = await refused(gateway, path, given)
    assert found == status
    assert sentence


@pytest.mark.parametrize("marker", ["[[error_middle]]", "[[reset]]", "[[truncate how=fin]]"])
async def test_an_error_in_the_answer_is_the_last_line_and_no_end(
    gateway: Gateway, marker: str
) -> None:
    for path in (CHAT, GENERATE):
        *before, last = await lines(gateway, path, body_of(path, marker))
        assert before
        assert not any(line["done"] for line in before)
        assert last.keys() == {"error"}
        assert last["error"]


async def test_overload_is_a_503_with_a_time(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(fitten={"pool": {"max_concurrent": 1, "queue_length": 0}})
    url = gateway.url + CHAT
    async with gateway.http.post(url, json=chat("[[endless]]")) as response:
        await response.content.readline()
        async with gateway.http.post(url, json=chat("a")) as other:
            assert (other.status, (await other.json()).keys()) == (503, {"error"})
            assert int(other.headers["Retry-After"]) >= 1


async def test_a_wrong_key_is_a_401_in_the_dialect(gateway: Gateway) -> None:
    headers = {"Authorization": "Bearer wrong-key-0123456789"}
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{gateway.url}/api/tags", headers=headers) as response,
    ):
        answer = await response.json()
        assert (response.status, answer.keys()) == (401, {"error"})
        assert "openai-version" not in response.headers


async def test_a_client_that_leaves_ends_the_upstream(gateway: Gateway, emulator: Emulator) -> None:
    async with gateway.http.post(gateway.url + CHAT, json=chat("[[endless]]")) as response:
        await response.content.readline()
    call = await upstream_call(emulator)
    await eventually(lambda: call.closed_at is not None)


async def test_lines_without_a_text_bridge_the_silence(
    start_gateway: StartGateway, emulator: Emulator
) -> None:
    gateway = await start_gateway(stream={"grace": 0.05, "keep_alive": 0.05})
    for path in (CHAT, GENERATE):
        given = body_of(path, "[[slow first=3600 gap=3600 n=2]]")
        async with gateway.http.post(gateway.url + path, json=given) as response:
            raw = b"".join([await response.content.readline() for _ in range(3)])
            assert not any(line.get("response") or line["done"] for line in parsed(raw))
            emulator.release()
            raw += await response.content.readuntil(b'"w0 "')
            raw += b"".join([await response.content.readline() for _ in range(3)])
            emulator.release()
            raw += await response.read()
        assert collected(parsed(raw))["content"] == "w0 w1 "


async def test_an_error_after_lines_without_a_text_is_a_line_too(
    start_gateway: StartGateway,
) -> None:
    """The answer has begun with a keep-alive, so the status cannot change."""
    gateway = await start_gateway(
        stream={"grace": 0.05, "keep_alive": 0.05}, fitten={"timeouts": {"first_piece": 0.3}}
    )
    for path in (CHAT, GENERATE):
        *before, last = await lines(gateway, path, body_of(path, "[[slow first=3600 n=1]]"))
        assert before
        assert not any(line["done"] for line in before)
        assert last.keys() == {"error"}
        assert "sent nothing for too long" in last["error"]
