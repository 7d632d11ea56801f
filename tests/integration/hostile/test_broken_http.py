"""HTTP itself, broken or unusual, on bare connections."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from emulator import Emulator
from tests.conftest import StartGateway
from tests.integration.conftest import Connect
from tests.integration.peer import CHAT, UPSTREAM_CHAT, chat_body, chat_head, chat_request, chunked
from tests.support import KEY, Gateway

JSON = {"Content-Type": "application/json"}
GOOD = chat_body("[[say]]")
HOST = b"Host: gateway\r\n"
POST = f"POST {CHAT} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {KEY}\r\n".encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"GARBAGE canary\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03canary\r\n\r\n",
        b"GET / HTTP/9.9\r\n" + HOST + b"X: canary\r\n\r\n",
        b"GET  /nowhere HTTP/1.1\r\n" + HOST + b"X: canary\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"Authorization: Bearer canary\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X canary: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"canary\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b": canary\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X: canary\rY: 1\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X: canary" + b"a" * 20_000 + b"\r\n\r\n",
        POST + b"Content-Length: canary\r\n\r\n",
        POST + b"Content-Length: -1\r\nX: canary\r\n\r\n",
        POST + b"Content-Length: 5\r\nContent-Length: 6\r\nX: canary\r\n\r\n",
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\nX: canary\r\n\r\n",
        POST + b"Transfer-Encoding: canary\r\n\r\n",
        POST + b"Transfer-Encoding: chunked, chunked\r\nX: canary\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\ncanary\r\n",
        POST + b"Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n-1\r\n\r\n",
    ],
    ids=lambda raw: repr(raw[-60:]),
)
async def test_broken_http_is_a_json_error_without_an_echo(
    gateway: Gateway, connect: Connect, log_events: list[Any], raw: bytes
) -> None:
    peer = await connect(gateway.url)
    await peer.send(raw)
    answer = await peer.answer()
    assert 400 <= answer.status < 500 or answer.status == 505
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.error["type"] == "invalid_request_error"
    assert b"canary" not in answer.body
    assert "canary" not in str(answer.headers)
    assert "canary" not in str(log_events)
    faults = [e for e in log_events if e.get("exc_info") or e["log_level"] in ("error", "critical")]
    assert not faults
    assert (await gateway.whole("[[say]]"))[0] == 200


@pytest.mark.parametrize("size", [1, 7, 4096])
async def test_a_chunked_body_is_taken(gateway: Gateway, connect: Connect, size: int) -> None:
    peer = await connect(gateway.url)
    head = chat_head({**JSON, "Transfer-Encoding": "chunked"})
    await peer.send(head + chunked(GOOD, size))
    assert (await peer.answer()).status == 200
    await peer.send(chat_request("[[say]]"))
    assert (await peer.answer()).status == 200


async def test_a_body_that_trickles_in_is_taken(gateway: Gateway, connect: Connect) -> None:
    peer = await connect(gateway.url)
    await peer.send(chat_head({**JSON, "Content-Length": str(len(GOOD))}))
    for i in range(0, len(GOOD), 8):
        await peer.send(GOOD[i : i + 8])
        await asyncio.sleep(0.002)
    assert (await peer.answer()).status == 200


async def test_a_broken_chunk_after_a_good_one_is_refused(
    gateway: Gateway, connect: Connect, emulator: Emulator, log_events: list[Any]
) -> None:
    peer = await connect(gateway.url)
    await peer.send(
        chat_head({**JSON, "Transfer-Encoding": "chunked"}) + b'5\r\n{"mes\r\nzz\r\ncanary\r\n'
    )
    answer = await peer.answer()
    assert answer.status == 400
    assert answer.error["type"] == "invalid_request_error"
    assert b"canary" not in answer.body
    assert not emulator.calls_to(UPSTREAM_CHAT)
    assert not [e for e in log_events if e["log_level"] == "error"]


async def test_a_body_is_asked_for_when_it_is_expected(gateway: Gateway, connect: Connect) -> None:
    peer = await connect(gateway.url)
    headers = {**JSON, "Content-Length": str(len(GOOD)), "Expect": "100-continue"}
    await peer.send(chat_head(headers))
    assert (await peer.head())[0] == 100
    await peer.send(GOOD)
    answer = await peer.answer()
    assert answer.status == 200
    assert answer.headers["x-request-id"]
    await peer.send(chat_request("[[say]]", stream=True))
    assert (await peer.answer()).status == 200


async def test_a_stream_after_expect_is_a_stream(gateway: Gateway, connect: Connect) -> None:
    peer = await connect(gateway.url)
    body = chat_body("[[say]]", stream=True)
    await peer.send(chat_head({**JSON, "Content-Length": str(len(body)), "Expect": "100-continue"}))
    assert (await peer.head())[0] == 100
    await peer.send(body)
    answer = await peer.answer()
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.body.endswith(b"data: [DONE]\n\n")


async def test_an_expected_body_over_the_limit_is_not_asked_for(
    start_gateway: StartGateway, connect: Connect
) -> None:
    gateway = await start_gateway(server={"max_body_bytes": 2000})
    peer = await connect(gateway.url)
    await peer.send(chat_head({**JSON, "Content-Length": "2001", "Expect": "100-continue"}))
    answer = await peer.answer()
    assert answer.status == 413
    assert answer.error["code"] == "request_too_large"
    assert answer.headers["x-should-retry"] == "false"


async def test_without_a_key_an_expected_body_is_not_waited_for(
    gateway: Gateway, connect: Connect
) -> None:
    peer = await connect(gateway.url)
    headers = {**JSON, "Content-Length": "100000", "Expect": "100-continue"}
    await peer.send(chat_head({**headers, "Authorization": "Bearer wrong"}))
    answer = await peer.answer()
    if answer.status == 100:
        answer = await peer.answer()
    assert answer.status == 401


async def test_another_expectation_is_refused(gateway: Gateway, connect: Connect) -> None:
    peer = await connect(gateway.url)
    await peer.send(chat_head({**JSON, "Content-Length": "2", "Expect": "canary"}) + b"{}")
    answer = await peer.answer()
    assert answer.status in (400, 417)
    assert answer.error["type"] == "invalid_request_error"
    assert b"canary" not in answer.body


@pytest.mark.parametrize("target", [f"POST {CHAT}", "POST /nowhere", f"PUT {CHAT}", "GET /health"])
async def test_an_expectation_for_any_url_gets_an_answer(
    gateway: Gateway, connect: Connect, target: str
) -> None:
    peer = await connect(gateway.url)
    headers = {**JSON, "Content-Length": "2", "Expect": "100-continue"}
    await peer.send(chat_head(headers, target))
    status, _ = await peer.head()
    assert status in (100, 200, 401, 404, 405)


async def test_pipelined_requests_are_answered_in_order(gateway: Gateway, connect: Connect) -> None:
    peer = await connect(gateway.url)
    texts = ("first", "second", "third")
    await peer.send(b"".join(chat_request(f"[[say text={text}]]") for text in texts))
    for text in texts:
        answer = json.loads((await peer.answer()).body)
        assert answer["choices"][0]["message"]["content"] == text


async def test_garbage_behind_a_request_does_not_spoil_its_answer(
    gateway: Gateway, connect: Connect, log_events: list[Any]
) -> None:
    peer = await connect(gateway.url)
    await peer.send(chat_request("[[slow first=0.1 gap=0 n=1]]"))
    await asyncio.sleep(0.03)
    await peer.send(b"canary \x00\r\n\r\n" * 5)
    assert (await peer.answer()).status == 200
    refusal = await peer.answer()
    assert refusal.status == 400
    assert refusal.error["type"] == "invalid_request_error"
    assert b"canary" not in refusal.body
    assert not [e for e in log_events if e["log_level"] == "error"]


@pytest.mark.parametrize("part", [0, 1, 20, 150])
async def test_a_connection_cut_in_the_head_leaves_no_trace(
    gateway: Gateway, connect: Connect, log_events: list[Any], part: int
) -> None:
    peer = await connect(gateway.url)
    await peer.send(chat_request("[[say]]")[:part])
    await asyncio.sleep(0.01)
    peer.reset()
    assert (await gateway.whole("[[say]]"))[0] == 200
    assert not [e for e in log_events if e["log_level"] in ("warning", "error")]


STREAMS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": (CHAT, {"messages": [{"role": "user", "content": "[[say]]"}]}),
    "chat that fails": (CHAT, {"messages": [{"role": "user", "content": "[[error_middle]]"}]}),
    "completion": ("/v1/completions", {"prompt": "a = "}),
    "fim": ("/v1/fim/completions", {"prompt": "a = ", "suffix": ""}),
    "infill": ("/infill", {"input_prefix": "a = ", "input_suffix": ""}),
}


@pytest.mark.parametrize("connection", [None, "keep-alive", "Keep-Alive, TE", "close"])
@pytest.mark.parametrize("name", STREAMS)
async def test_a_stream_of_http_1_0_ends_by_closing_whatever_connection_says(
    gateway: Gateway, connect: Connect, name: str, connection: str | None
) -> None:
    route, members = STREAMS[name]
    body = json.dumps({"stream": True, **members}).encode()
    headers = {"Content-Length": str(len(body))} | (
        {"Connection": connection} if connection else {}
    )
    peer = await connect(gateway.url)
    await peer.send(chat_head(headers, f"POST {route}").replace(b"HTTP/1.1", b"HTTP/1.0", 1) + body)
    answer = await peer.answer()  # read until the gateway closes
    assert answer.status == 200
    assert not {"transfer-encoding", "content-length", "connection"} & answer.headers.keys()
    assert answer.body.startswith(b"data: ")
    assert answer.body.endswith(b"\n\n")


async def test_a_whole_answer_of_http_1_0_keeps_the_connection_that_asks_for_it(
    gateway: Gateway, connect: Connect
) -> None:
    peer = await connect(gateway.url)
    request = chat_head({"Connection": "keep-alive"}, "GET /health")
    for _ in range(2):
        await peer.send(request.replace(b"HTTP/1.1", b"HTTP/1.0", 1))
        answer = await peer.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "keep-alive")


async def test_odd_urls_are_answered_in_json(gateway: Gateway, connect: Connect) -> None:
    for target in (
        "/%ff",
        "/%00",
        "//v2//models",
        "/v1/models/../../etc",
        "/é",
        "/nowhere?" + "a" * 5000,
    ):
        peer = await connect(gateway.url)
        await peer.send(chat_head({}, f"GET {target}"))
        answer = await peer.answer()
        assert 400 <= answer.status < 500
        assert answer.error["type"] == "invalid_request_error"


@pytest.mark.parametrize("target", ["*", "http://gateway/v1/models", "gateway:80"])
@pytest.mark.parametrize("method", ["GET", "OPTIONS", "CONNECT"])
async def test_odd_request_targets_are_answered(
    gateway: Gateway, connect: Connect, method: str, target: str
) -> None:
    peer = await connect(gateway.url)
    await peer.send(chat_head({}, f"{method} {target}"))
    assert (await peer.answer()).status < 500
    assert (await gateway.whole("[[say]]"))[0] == 200


@pytest.mark.parametrize(
    "line", ["GET /health HTTP/0.9", "GET /health HTTP/2.0", "GET /health HTTP/3.7", "GET /health"]
)
async def test_other_versions_of_http_are_refused(
    gateway: Gateway, connect: Connect, log_events: list[Any], line: str
) -> None:
    peer = await connect(gateway.url)
    await peer.send(line.encode() + b"\r\nHost: gateway\r\n\r\n")
    answer = await peer.answer()  # takes only answers of HTTP/1
    assert answer.status in (400, 505)
    assert await peer.rest() == b""
    assert not [e for e in log_events if e["log_level"] == "error"]
