"""A key in the path, for clients that can send no header: where it works, and who sees it."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from gateway import OUTCOME, Handler
from tests.conftest import StartGateway
from tests.integration.canaries.gateway import exchange, watched_gateway
from tests.integration.canaries.net import API_KEY, Net, net
from tests.support import KEY, Gateway

__all__ = ["net"]

IN_PATH, BY_DIGEST = "key-in-the-path-0001", "key/with?a#sign-0002"
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "[[say]]"}]}
CHAINS: list[Any] = [
    "request_id",
    "request_log",
    {
        "api_key": {
            "keys": [
                {"name": "header", "key": KEY},
                {"name": "editor", "key": IN_PATH, "path": True},
                {"name": "other editor", "key": BY_DIGEST, "path": True},
            ]
        }
    },
]


@pytest.fixture
async def keyed(start_gateway: StartGateway) -> Gateway:
    return await start_gateway(middlewares=CHAINS)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that sends no header with a key."""
    async with aiohttp.ClientSession() as session:
        yield session


async def status(http: aiohttp.ClientSession, method: str, url: str, **options: Any) -> int:
    async with http.request(method, URL(url, encoded=True), **options) as response:
        await response.read()
        return response.status


@pytest.mark.parametrize("key", [IN_PATH, "key%2Fwith%3Fa%23sign-0002", "%6Bey-in-the-path-0001"])
@pytest.mark.parametrize("base", ["/k/", "//k//", "/%6B/", f"/k/{KEY}/k/"])
async def test_a_key_that_is_marked_works_in_the_path(
    keyed: Gateway, http: aiohttp.ClientSession, base: str, key: str
) -> None:
    url = f"{keyed.url}{base}{key}/api"
    for name in ("tags", "ps", "version", "tags/", "tags?a=/k/b/"):
        assert await status(http, "GET", f"{url}/{name}") == 200
    assert await status(http, "POST", f"{url}/show", json={"model": "fitten-code"}) == 200
    async with http.post(URL(f"{url}/chat", encoded=True), json=CHAT) as response:
        assert response.status == 200
        assert json.loads((await response.read()).splitlines()[-1])["done"] is True
    body = {"prompt": "def f(", "suffix": "):"}
    assert await status(http, "POST", f"{url}/generate", json=body) == 200
    assert await status(http, "POST", f"{url}/pull", json={}) == 501


async def test_the_log_names_the_key_and_the_route_without_the_key(
    keyed: Gateway, http: aiohttp.ClientSession, log_events: list[Any]
) -> None:
    await status(http, "GET", f"{keyed.url}/k/{IN_PATH}/api/tags")
    (line,) = [event for event in log_events if event["event"] == "request"]
    assert (line["key"], line["route"], line["status"]) == ("editor", "/k/api/tags", 200)


@pytest.mark.parametrize("path", ["/k/{}", "/k/{}/"])
async def test_the_base_url_with_a_key_shows_that_something_listens(
    keyed: Gateway, http: aiohttp.ClientSession, path: str
) -> None:
    for method in ("GET", "HEAD"):
        assert await status(http, method, keyed.url + path.format(IN_PATH)) == 200


@pytest.mark.parametrize("key", [KEY, "wrong-key-0123456789", "api", "k"])
async def test_any_other_key_is_refused_there(
    keyed: Gateway, http: aiohttp.ClientSession, key: str
) -> None:
    url = f"{keyed.url}/k/{key}/api/tags"
    headers = {"Authorization": f"Bearer {KEY}"}
    for sent in ({}, headers):  # the key in the path is the one that counts
        async with http.get(url, headers=sent) as response:
            answer = await response.json()
            assert (response.status, answer.keys()) == (401, {"error"})
            assert key not in answer["error"] or key in ("api", "k")
            assert ("must be sent in a header" in answer["error"]) == (key == KEY)


async def test_a_path_without_a_key_has_none(keyed: Gateway, http: aiohttp.ClientSession) -> None:
    assert await status(http, "GET", f"{keyed.url}/k/") == 200  # the start page
    assert await status(http, "GET", f"{keyed.url}/k//api/tags") == 401  # the key is "api"


OTHERS = [
    ("POST", "/v1/chat/completions"),
    ("POST", "/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/responses"),
    ("POST", "/v1/messages"),
    ("GET", "/v1/models"),
    ("GET", "/health"),
    ("GET", "/api/me"),
]


@pytest.mark.parametrize(("method", "path"), OTHERS)
async def test_a_key_in_the_path_works_on_no_other_route(
    keyed: Gateway, http: aiohttp.ClientSession, method: str, path: str
) -> None:
    url = f"{keyed.url}/k/{IN_PATH}{path}"
    headers = {"Authorization": f"Bearer {KEY}"}
    async with http.request(method, url, json=CHAT, headers=headers) as response:
        assert response.status == 404
        first = path.split("/")[1]
        assert f"({method} /k{path})".replace(f"/k/{first}", "/k/...") in await response.text()


async def test_a_key_that_is_marked_works_in_headers_too(
    keyed: Gateway, http: aiohttp.ClientSession
) -> None:
    headers = {"Authorization": f"Bearer {IN_PATH}"}
    for path in ("/v1/models", "/api/tags"):
        assert await status(http, "GET", keyed.url + path, headers=headers) == 200


async def test_a_key_as_the_password_of_a_url(keyed: Gateway, http: aiohttp.ClientSession) -> None:
    url = keyed.url.replace("http://", f"http://any:{KEY}@")
    assert await status(http, "GET", f"{url}/api/tags") == 200
    assert await status(http, "GET", f"{url}/v1/models") == 200


class seen_requests:
    """A middleware that keeps what any middleware could log of a request, its key aside."""

    seen: ClassVar[list[str]] = []

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        finally:
            places = (request, request.url, request.rel_url, request.path, request.raw_path)
            headers, route = request.headers, request.match_info.route
            self.seen.append(repr((*places, headers, route, request.match_info, request[OUTCOME])))


async def test_no_key_of_a_path_leaves_the_process(net: Net, tmp_path: Path) -> None:
    """In no answer, no header, no log line and no outcome: right, wrong and misplaced keys."""
    right, wrong = "canary-path-key-7f3a9c", "canary-wrong-key-93d1"
    net.secrets |= {"key in the path": right, "wrong key in the path": wrong[:-4]}
    keys = [{"name": "tester", "key": right, "path": True}, {"name": "other", "key": API_KEY}]
    factory = f"{__name__}:{seen_requests.__name__}"
    chain: list[Any] = ["request_id", "request_log", factory, {"api_key": {"keys": keys}}]
    body = json.dumps(CHAT)
    seen_requests.seen.clear()
    async with watched_gateway(net, "paths", tmp_path, middlewares=chain) as (url, _):
        for key, base, path, method in itertools.product(
            (right, wrong, API_KEY), BASES, PATHS, ("GET", "POST", "BREW", "OPTIONS")
        ):
            head = f"{method} {base}{key}{path} HTTP/1.1\r\nHost: a\r\n"
            raw = f"{head}Content-Length: {len(body)}\r\n\r\n{body}"
            answer = await exchange(url, raw.encode())
            text = f"{answer.headers} {answer.body.decode('latin-1')}"
            net.put(f"answer to {method} {base}*{path}", text)
    for text in seen_requests.seen:
        net.put("request", text)
    assert net.leaks() == []
    assert any("/k/api/chat" in text for place, text in net.catch if place.startswith("log"))
    assert any("/k/api/chat" in text for text in seen_requests.seen)


BASES = ("/k/", "//k/", "/%6b/", "http://gateway/k/", "/k/other/k/")
PATHS = (
    *("/api/chat", "/api/tags", "/api/me", "/api/pull", "/v1/models", "/nope", "/", "", "/k/x"),
    *("/api/chat?key=%6b", "/api/%zz", "/%2e%2e/api/chat"),
)


@pytest.mark.parametrize("base", ["/v1/k/", "/api/k/"])
async def test_a_key_in_a_wrong_place_of_the_path_is_not_shown(
    keyed: Gateway, http: aiohttp.ClientSession, base: str
) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    async with http.get(f"{keyed.url}{base}{IN_PATH}/api/tags", headers=headers) as response:
        assert response.status == 404
        assert f"{base}.../api/tags" in await response.text()
