"""Refusals of clients' requests before the upstream is asked: the rows of wire rule D2."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from emulator import Emulator
from tests.conftest import StartGateway
from tests.integration.conftest import Connect
from tests.integration.peer import (
    CHAT,
    UPSTREAM_CHAT,
    Peer,
    chat_body,
    chat_head,
    chat_request,
    chunked,
)
from tests.support import KEY, Gateway

JSON = {"Content-Type": "application/json"}
GOOD = chat_body("[[say]]")
KIND = "invalid_request_error"


async def refused(
    gateway: Gateway, method: str, path: str, headers: dict[str, str], data: Any
) -> tuple[Any, Any]:
    """The answer and its error, checked for what every error has."""
    async with gateway.http.request(
        method, gateway.url + path, data=data, headers=headers
    ) as response:
        body = await response.json()
        assert response.content_type == "application/json"
        assert set(body) == {"error"}
        assert set(body["error"]) == {"message", "type", "param", "code"}
        assert response.headers["x-request-id"]
        assert response.headers["openai-version"] == "2020-10-01"
        assert response.headers["openai-processing-ms"].isdigit()
        return response, body["error"]


@pytest.mark.parametrize(
    ("method", "path", "headers", "data", "status", "code"),
    [
        pytest.param("POST", "/v1/x", JSON, GOOD, 404, None, id="unknown URL"),
        pytest.param("GET", "/v1", {}, None, 404, None, id="base URL"),
        pytest.param("POST", "/", JSON, GOOD, 405, "method_not_allowed", id="root"),
        pytest.param("GET", CHAT, {}, None, 405, "method_not_allowed", id="GET for POST"),
        pytest.param("POST", "/v1/models", JSON, b"{}", 405, "method_not_allowed", id="POST"),
        pytest.param("POST", CHAT, JSON, b"{", 400, "invalid_json", id="broken JSON"),
        pytest.param("POST", CHAT, JSON, b"", 400, "invalid_json", id="no body"),
        pytest.param("POST", CHAT, JSON, b"[]", 400, "invalid_json", id="not an object"),
        pytest.param("POST", CHAT, JSON, b'{"a":"\xff"}', 400, "invalid_json", id="not UTF-8"),
        pytest.param(
            "POST",
            CHAT,
            {"Content-Type": "text/plain"},
            GOOD,
            415,
            "unsupported_media_type",
            id="text",
        ),
        pytest.param(
            "POST",
            CHAT,
            {"Content-Type": "multipart/form-data; boundary=x"},
            GOOD,
            415,
            "unsupported_media_type",
            id="form",
        ),
        pytest.param(
            "POST",
            CHAT,
            {"Content-Type": "application/json; charset=latin-1"},
            GOOD,
            415,
            "unsupported_media_type",
            id="charset",
        ),
        pytest.param(
            "POST",
            CHAT,
            {"Content-Type": "application/json; charset=punycode"},
            GOOD,
            415,
            "unsupported_media_type",
            id="slow charset",
        ),
        pytest.param(
            "POST",
            CHAT,
            {**JSON, "Content-Encoding": "gzip"},
            gzip.compress(GOOD),
            415,
            "unsupported_media_type",
            id="gzip",
        ),
    ],
)
async def test_a_request_that_cannot_be_served_is_refused_in_the_shape_of_d2(
    gateway: Gateway,
    method: str,
    path: str,
    headers: dict[str, str],
    data: Any,
    status: int,
    code: str | None,
) -> None:
    response, error = await refused(gateway, method, path, headers, data)
    assert response.status == status
    assert (error["type"], error["code"], error["param"]) == (KIND, code, None)
    assert response.headers["x-should-retry"] == "false"
    assert "Retry-After" not in response.headers


async def test_an_unknown_url_is_named(gateway: Gateway) -> None:
    _, error = await refused(gateway, "POST", "/v1/nope?key=canary", JSON, GOOD)
    assert error["message"] == "Invalid URL (POST /v1/nope)"


PROMPT = "the merger is on Friday"
LIKE_A_KEY = "sk-canary-9e107d9d372b"


def answer_text(content: Any = "x", **parameters: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}], **parameters}


@pytest.mark.parametrize("word", [PROMPT, LIKE_A_KEY, "合并在星期五"])
@pytest.mark.parametrize(
    "body",
    [
        lambda word: {"messages": [{"role": word, "content": "x"}]},
        lambda word: answer_text([{"type": word}]),
        lambda word: answer_text(tools=[{"type": word}]),
        lambda word: answer_text(tool_choice=word),
        lambda word: answer_text(
            tools=[{"type": "function", "function": {"name": "f"}}],
            tool_choice={"type": "function", "function": {"name": word}},
        ),
        lambda word: answer_text(
            tools=[
                {"type": "function", "function": {"name": "f", "description": text, word: 1}}
                for text in ("", word)
            ]
        ),
        lambda word: answer_text(response_format={"type": word}),
        lambda word: answer_text(reasoning_effort={word: 1}, max_tokens={word: word}),
        lambda word: answer_text(model=word),
        lambda word: answer_text([{"type": "image_url", "image_url": {"url": word}}]),
        lambda word: (
            json.dumps(answer_text())[:-1] + 2 * f',{json.dumps(word)}:{{"a":1,"a":1}}' + "}"
        ),
        lambda word: json.dumps(answer_text()) + word,
    ],
)
async def test_a_refusal_quotes_no_prompt_and_no_key(
    gateway: Gateway, body: Any, word: str
) -> None:
    sent = body(word)
    data = sent if isinstance(sent, str) else json.dumps(sent)
    response, _ = await refused(gateway, "POST", CHAT, JSON, data.encode())
    assert response.status in (400, 404)
    text = str(response.headers) + json.dumps(await response.json(), ensure_ascii=False)
    assert word not in text


@pytest.mark.parametrize("word", [LIKE_A_KEY, "x" * 30])
async def test_a_refusal_quotes_no_key_of_a_head(
    gateway: Gateway, peer: Peer, connect: Connect, word: str
) -> None:
    for target in (f"{word} /v1/models", f"{word} /nowhere", f"GET /v1/{word}/models"):
        broken = await connect(gateway.url)
        await broken.send(chat_head({}, target))
        answer = await broken.answer()
        assert answer.status in (400, 404, 405)
        assert word not in str(answer)
        assert word[:20] not in str(answer)
    await peer.send(chat_head({"Content-Type": LIKE_A_KEY, "Content-Length": "2"}) + b"{}")
    answer = await peer.answer()
    assert answer.status == 415
    assert LIKE_A_KEY not in str(answer)


async def test_a_value_in_the_wrong_place_is_named(gateway: Gateway) -> None:
    for body, says in (
        (answer_text(model="qwen-4.1-mini"), "'qwen-4.1-mini' does not exist"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "'robot'"),
        (answer_text([{"type": "input_audio"}]), "'input_audio'"),
    ):
        _, error = await refused(gateway, "POST", CHAT, JSON, json.dumps(body).encode())
        assert says in error["message"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", CHAT, {"HEAD", "OPTIONS", "POST"}),
        ("PUT", CHAT, {"HEAD", "OPTIONS", "POST"}),
        ("POST", "/v1/models", {"GET", "HEAD", "OPTIONS"}),
        ("POST", "/v1/models/fitten-code", {"GET", "HEAD", "OPTIONS"}),
        ("DELETE", "/health", {"GET", "HEAD", "OPTIONS"}),
    ],
)
async def test_a_wrong_method_is_answered_with_the_right_ones(
    gateway: Gateway, method: str, path: str, allowed: set[str]
) -> None:
    response, _ = await refused(gateway, method, path, {}, None)
    assert set(response.headers["Allow"].split(", ")) == allowed


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json; charset=UTF-8"},
        {"Content-Type": 'application/json;charset="utf-8"'},
        {"Content-Type": "Application/JSON"},
        {"Content-Type": "application/vnd.api+json"},
        {**JSON, "Content-Encoding": "identity"},
        {**JSON, "Accept": "text/event-stream"},
    ],
)
async def test_every_way_to_say_json_is_taken(gateway: Gateway, headers: dict[str, str]) -> None:
    url = gateway.url + CHAT
    async with gateway.http.post(url, data=GOOD, headers=headers) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong-key-0123456789"},
        {"Authorization": "Basic dTpw"},
        {"Authorization": f"Bearer {KEY}x"},
        {"Authorization": "Bearer schlüssel"},
        {"x-api-key": "wrong"},
        {"api-key": "wrong"},
    ],
)
async def test_a_missing_or_wrong_key_is_refused(
    gateway: Gateway, emulator: Emulator, headers: dict[str, str], connect: Connect
) -> None:
    lines = {"Host": "gateway", "Content-Length": str(len(GOOD)), **JSON, **headers}
    head = "\r\n".join([f"POST {CHAT} HTTP/1.1", *(f"{k}: {v}" for k, v in lines.items())])
    peer = await connect(gateway.url)
    await peer.send(head.encode() + b"\r\n\r\n" + GOOD)
    answer = await peer.answer()
    assert answer.status == 401
    assert (answer.error["type"], answer.error["code"]) == (KIND, "invalid_api_key")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["x-request-id"]
    assert "wrong-key" not in answer.error["message"]
    assert not emulator.calls_to(UPSTREAM_CHAT)


async def test_a_body_over_the_limit_is_refused_before_it_is_sent(
    start_gateway: StartGateway, connect: Connect
) -> None:
    gateway = await start_gateway(server={"max_body_bytes": 2000})
    peer = await connect(gateway.url)
    await peer.send(chat_head({**JSON, "Content-Length": "2001"}))
    answer = await peer.answer()
    assert answer.status == 413
    assert (answer.error["type"], answer.error["code"]) == (KIND, "request_too_large")
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["x-request-id"]
    assert answer.headers["connection"] == "close"


async def test_a_chunked_body_over_the_limit_is_refused(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(server={"max_body_bytes": 2000})

    async def body() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b" " * 100

    response, error = await refused(gateway, "POST", CHAT, JSON, body())
    assert response.status == 413
    assert (error["type"], error["code"]) == (KIND, "request_too_large")


@pytest.mark.parametrize("form", ["length", "chunked"])
async def test_a_body_at_the_limit_is_taken(
    start_gateway: StartGateway, form: str, connect: Connect
) -> None:
    gateway = await start_gateway(server={"max_body_bytes": 2000})
    body = GOOD.ljust(2000)
    peer = await connect(gateway.url)
    if form == "length":
        await peer.send(chat_head({**JSON, "Content-Length": "2000"}) + body)
    else:
        await peer.send(chat_head({**JSON, "Transfer-Encoding": "chunked"}) + chunked(body, 500))
    assert (await peer.answer()).status == 200


async def test_a_body_of_many_megabytes_is_taken_by_default(
    gateway: Gateway, connect: Connect
) -> None:
    body = GOOD.ljust(19 * 2**20)
    peer = await connect(gateway.url)
    await peer.send(chat_head({**JSON, "Content-Length": str(len(body))}) + body)
    assert (await peer.answer()).status == 200


@pytest.mark.parametrize(
    "framing", [{"Content-Length": "100"}, {"Transfer-Encoding": "chunked"}], ids=str
)
async def test_a_body_that_never_arrives_is_an_error_in_time(
    start_gateway: StartGateway, framing: dict[str, str], connect: Connect
) -> None:
    gateway = await start_gateway(server={"body_timeout": 0.2})
    peer = await connect(gateway.url)
    await peer.send(chat_head({**JSON, **framing}) + b'5\r\n{"a":\r\n')
    answer = await peer.answer()
    assert answer.status == 408
    assert (answer.error["type"], answer.error["code"]) == (KIND, "request_timeout")
    assert answer.headers["x-should-retry"] == "true"
    assert answer.headers["connection"] == "close"


async def test_a_connection_serves_on_after_an_error(peer: Peer) -> None:
    for _ in range(2):
        await peer.send(chat_head({**JSON, "Content-Length": "1"}) + b"{")
        assert (await peer.answer()).status == 400
        await peer.send(chat_request("[[say]]"))
        assert (await peer.answer()).status == 200


async def test_an_error_is_json_whatever_is_accepted(gateway: Gateway) -> None:
    headers = {**JSON, "Accept": "text/html"}
    _, error = await refused(gateway, "POST", CHAT, headers, b"{")
    assert error["code"] == "invalid_json"


@pytest.mark.parametrize(
    "coding", ["gzip, chunked", "deflate,chunked", "x-other, chunked", "gzip;q=1, chunked"]
)
async def test_a_coding_other_than_chunked_is_not_implemented(
    peer: Peer, emulator: Emulator, coding: str
) -> None:
    """The body would be read as it came, compressed (RFC 9112, 6.1)."""
    head = chat_head({**JSON, "Transfer-Encoding": coding})
    await peer.send(head + chunked(gzip.compress(GOOD)))
    answer = await peer.answer()
    assert answer.status == 501
    assert answer.error["message"] == "The only supported Transfer-Encoding is chunked."
    assert answer.headers["x-should-retry"] == "false"
    assert not emulator.calls_to(UPSTREAM_CHAT)


@pytest.mark.parametrize("coding", ["chunked", "Chunked", " chunked "])
async def test_a_chunked_body_is_taken_however_the_coding_is_written(
    peer: Peer, coding: str
) -> None:
    await peer.send(chat_head({**JSON, "Transfer-Encoding": coding}) + chunked(GOOD))
    assert (await peer.answer()).status == 200
