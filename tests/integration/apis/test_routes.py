"""The URLs and methods under which clients look for the routes (wire rules, end of section C)."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from emulator import Emulator
from tests.integration.peer import Peer, chat_body, chat_head, eventually
from tests.support import Gateway

HEADERS = {"Content-Type": "application/json"}
PREFIXES = pytest.mark.parametrize("prefix", ["/v1", "", "/v1/v1"])
ENDS = ("", "/", "?api-version=2024-10-21&beta=true", "/?a=1&a=2&%ff", "?" + "x" * 2000)
SUFFIXES = pytest.mark.parametrize("suffix", ENDS)

# Every route, and the methods it answers.
GET = "GET, HEAD, OPTIONS"
POST = "HEAD, OPTIONS, POST"
ROUTES = [
    ("/v1/chat/completions", POST),
    ("/v1/completions", POST),
    ("/v1/fim/completions", POST),
    ("/beta/completions", POST),
    ("/infill", POST),
    ("/v1/responses", POST),
    ("/v1/models", GET),
    ("/v1/models/fitten-code", GET),
    ("/api/chat", POST),
    ("/api/generate", POST),
    ("/api/tags", GET),
    ("/api/show", POST),
    ("/api/ps", GET),
    ("/api/version", GET),
    ("/health", GET),
    ("/ready", GET),
]
EACH_ROUTE = pytest.mark.parametrize(("path", "allow"), ROUTES)


@PREFIXES
@SUFFIXES
async def test_a_chat_is_answered_under_every_spelling_of_the_base_url(
    gateway: Gateway, prefix: str, suffix: str
) -> None:
    url = f"{gateway.url}{prefix}/chat/completions{suffix}"
    async with gateway.http.post(url, data=chat_body("[[say]]"), headers=HEADERS) as response:
        assert response.status == 200


@PREFIXES
@SUFFIXES
@pytest.mark.parametrize("path", ["/models", "/models/fitten-code", "/models/agent%2FDefault"])
async def test_models_are_listed_under_every_spelling_of_the_base_url(
    gateway: Gateway, prefix: str, suffix: str, path: str
) -> None:
    async with gateway.http.get(f"{gateway.url}{prefix}{path}{suffix}") as response:
        assert response.status == 200
        assert (await response.json())["object"] in ("list", "model")


@pytest.mark.parametrize(
    "path", ["/v1/v1/v1/models", "/v2/models", "//v2//models", "/v1", "/v1/", "/v1//"]
)
async def test_other_urls_are_not_found(gateway: Gateway, path: str) -> None:
    async with gateway.http.get(gateway.url + path) as response:
        assert response.status == 404
        assert (await response.json())["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "target",
    [
        "/v1//chat/completions",
        "//v1/chat/completions",
        "/v1/chat//completions",
        "/v1/chat/completions//",
        "///v1///v1//chat////completions///?api-version=1&url=https://x//y",
        "//chat/completions",
        "http://gateway//v1/chat/completions",
        "http://gateway/v1//chat/completions?a=//",
    ],
)
async def test_several_slashes_in_a_path_are_one(peer: Peer, target: str) -> None:
    body = chat_body("[[say]]")
    length = {**HEADERS, "Content-Length": str(len(body))}
    await peer.send(chat_head(length, f"POST {target}") + body)
    answer = await peer.answer()
    assert (answer.status, json.loads(answer.body)["object"]) == (200, "chat.completion")


@pytest.mark.parametrize("path", ["//v1/models", "/v1//models", "/v1/models//", "//health"])
async def test_several_slashes_are_one_in_every_path_and_method(
    gateway: Gateway, path: str
) -> None:
    for method, status in (("GET", 200), ("HEAD", 200), ("OPTIONS", 204), ("PUT", 405)):
        async with gateway.http.request(method, gateway.url + path) as response:
            assert response.status == status


async def test_slashes_of_a_query_stay(peer: Peer, emulator: Emulator) -> None:
    await peer.send(chat_head({}, "GET /v1/models/a%2F%2Fb?x=//"))
    answer = await peer.answer()
    assert answer.status == 404
    assert "a//b" in answer.error["message"]


ABSENT = [
    ("POST", "/embeddings"),
    ("POST", "/audio/transcriptions"),
    ("POST", "/audio/speech"),
    ("GET", "/files"),
    ("POST", "/files"),
    ("GET", "/files/file-abc/content"),
    ("DELETE", "/files/file-abc"),
    ("POST", "/images/generations"),
    ("POST", "/moderations"),
    ("POST", "/responses/resp_1/cancel"),
    ("GET", "/responses/resp_1/input_items"),
    ("POST", "/batches"),
    ("POST", "/fine_tuning/jobs"),
    ("POST", "/assistants"),
    ("POST", "/rerank"),
    ("GET", "/chat/completions/chatcmpl-1"),
    ("POST", "/engines/davinci/completions"),
    ("GET", "/dashboard/billing/usage"),
    ("GET", "/realtime"),
]


@PREFIXES
@pytest.mark.parametrize("end", ["", "/", "?a=b"])
async def test_a_route_of_openai_that_is_absent_says_what_there_is(
    gateway: Gateway, prefix: str, end: str
) -> None:
    for method, path in ABSENT:
        async with gateway.http.request(method, f"{gateway.url}{prefix}{path}{end}") as response:
            error = (await response.json())["error"]
            assert (response.status, error["type"]) == (404, "invalid_request_error"), path
            assert (error["code"], error["param"]) == (None, None)
            assert error["message"].startswith(f"Invalid URL ({method} {prefix}{path}")
            assert error["message"].count(". ") == 0
            assert response.headers["x-should-retry"] == "false"
            for route, _ in ROUTES:
                there = route in error["message"]
                assert there == (route in SAID), route


SAID = (
    *("/v1/chat/completions", "/v1/responses", "/v1/completions", "/v1/fim/completions"),
    *("/infill", "/v1/models", "/api/chat", "/api/generate"),
)


@PREFIXES
@pytest.mark.parametrize("path", ["/messages/batches", "/complete", "/organizations?beta=true"])
async def test_a_route_of_anthropic_is_absent_in_its_dialect(
    gateway: Gateway, prefix: str, path: str
) -> None:
    url = f"{gateway.url}{prefix}{path}"
    async with gateway.http.post(url, json={"model": "claude", "messages": []}) as response:
        answer = await response.json()
        assert response.status == 404
        assert (answer["type"], answer["error"]["type"]) == ("error", "not_found_error")
        assert "only /v1/chat/completions" in answer["error"]["message"]
        assert response.headers["request-id"] == response.headers["x-request-id"]
        assert "openai-version" not in response.headers
    async with aiohttp.ClientSession() as http, http.post(url, json={}) as response:
        answer = await response.json()
        assert (response.status, answer["error"]["type"]) == (401, "authentication_error")


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/api/me"), ("GET", "/api/status"), ("POST", "//api//experimental//web_search")],
)
async def test_a_route_of_ollama_is_absent_in_its_dialect(
    gateway: Gateway, method: str, path: str
) -> None:
    async with gateway.http.request(method, gateway.url + path) as response:
        answer = await response.json()
        assert response.status == 404
        assert set(answer) == {"error"}
        assert "only /v1/chat/completions" in answer["error"]
        assert "openai-version" not in response.headers


@EACH_ROUTE
@pytest.mark.parametrize("end", ["", "/"])
async def test_every_url_has_a_head_without_a_body(
    gateway: Gateway, emulator: Emulator, path: str, allow: str, end: str
) -> None:
    async with gateway.http.head(gateway.url + path + end) as response:
        assert response.status == 200 or path == "/ready"  # the login may not be made yet
        assert response.content_type == "application/json"
        assert await response.read() == b""
    assert not emulator.calls_to("/codeapi/chat_auth")


@EACH_ROUTE
async def test_a_head_needs_a_key_where_its_route_does(
    gateway: Gateway, path: str, allow: str
) -> None:
    async with aiohttp.ClientSession() as http, http.head(gateway.url + path) as response:
        assert (response.status == 401) == (path not in ("/health", "/ready"))


@EACH_ROUTE
@pytest.mark.parametrize("end", ["", "/", "?x"])
@pytest.mark.parametrize(
    "headers",
    [{}, {"Origin": "https://other.example", "Access-Control-Request-Method": "POST"}],
    ids=["plain", "pre-flight of another origin"],
)
async def test_options_lists_the_methods_without_a_key(
    gateway: Gateway, path: str, allow: str, end: str, headers: dict[str, str]
) -> None:
    async with (
        aiohttp.ClientSession() as http,
        http.options(gateway.url + path + end, headers=headers) as response,
    ):
        assert response.status == 204
        assert response.headers["Allow"] == allow
        assert await response.read() == b""
        assert "Access-Control-Allow-Origin" not in response.headers


@EACH_ROUTE
async def test_a_preflight_of_an_allowed_origin_is_granted_everywhere(
    gateway: Gateway, path: str, allow: str
) -> None:
    headers = {
        "Origin": "https://chat.example.org",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    async with (
        aiohttp.ClientSession() as http,
        http.options(gateway.url + path, headers=headers) as response,
    ):
        assert response.status == 204
        assert response.headers["Access-Control-Allow-Origin"] == headers["Origin"]
        assert response.headers["Access-Control-Allow-Headers"] == "authorization"


async def test_options_of_an_unknown_url_are_not_found(gateway: Gateway) -> None:
    async with gateway.http.options(f"{gateway.url}/v1/nowhere") as response:
        assert response.status == 404


async def test_a_body_sent_with_options_or_head_starts_nothing(
    gateway: Gateway, emulator: Emulator
) -> None:
    url = f"{gateway.url}/v1/chat/completions"
    for method in ("OPTIONS", "HEAD"):
        async with gateway.http.request(
            method, url, data=chat_body("[[say]]"), headers=HEADERS
        ) as response:
            assert response.status in (200, 204)
    assert not emulator.calls_to("/codeapi/chat_auth")


async def test_unknown_members_of_a_body_are_ignored(gateway: Gateway) -> None:
    unknown: dict[str, Any] = {"cache_control": {"type": "ephemeral"}, "x": [1, {"y": None}]}
    assert (await gateway.whole("[[say]]", **unknown))[0] == 200


async def test_the_models_come_from_memory_at_once(gateway: Gateway, emulator: Emulator) -> None:
    url = f"{gateway.url}/v1/models"
    await eventually(lambda: emulator.calls_to("/codeapi/chat/models"))
    calls = len(emulator.calls)
    for _ in range(20):
        async with gateway.http.get(url) as response:
            await response.read()
    assert len(emulator.calls) == calls
