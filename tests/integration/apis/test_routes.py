"""The URLs and methods under which clients look for the routes (wire rules, end of section C)."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from emulator import Emulator
from tests.integration.peer import chat_body, eventually
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
    ("/v1/models", GET),
    ("/v1/models/fitten-code", GET),
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
    "path", ["/v1/v1/v1/models", "/v2/models", "//v1/models", "/v1/models//", "/v1", "/", "/v1/"]
)
async def test_other_urls_are_not_found(gateway: Gateway, path: str) -> None:
    async with gateway.http.get(gateway.url + path) as response:
        assert response.status == 404
        assert (await response.json())["error"]["type"] == "invalid_request_error"


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
