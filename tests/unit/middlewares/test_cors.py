"""Browsers of named origins may call; others get no permission."""

from __future__ import annotations

import pytest
from aiohttp import web

from gateway import RateLimited
from gateway.middleware import read_middlewares
from gateway.options import Mistakes, Secret
from middlewares.api_key import Key, api_key
from middlewares.cors import cors
from tests.unit.middlewares.support import running

CHAT = "https://chat.example"
ALLOW = "Access-Control-Allow-Origin"


@pytest.mark.parametrize(
    ("allowed", "origin", "answer"),
    [
        ([], CHAT, None),
        ([], None, None),
        ([CHAT], None, None),
        ([CHAT], CHAT, CHAT),
        ([CHAT + "/"], CHAT, CHAT),
        ([CHAT], "https://other.example", None),
        ([CHAT], "http://chat.example", None),
        ([CHAT], "https://chat.example:8443", None),
        ([CHAT], "https://chat.example.evil.example", None),
        ([CHAT], "https://sub.chat.example", None),
        ([CHAT], "null", None),
        ([CHAT, "http://localhost:3000"], "http://localhost:3000", "http://localhost:3000"),
        (["*"], CHAT, "*"),
        (["*"], "null", "*"),
        (["*", CHAT], CHAT, "*"),
    ],
)
@pytest.mark.parametrize("preflight", [False, True])
async def test_the_matrix_of_origins(
    allowed: list[str], origin: str | None, answer: str | None, preflight: bool
) -> None:
    headers = {} if origin is None else {"Origin": origin}
    if preflight:
        headers["Access-Control-Request-Method"] = "POST"
    async with running(cors(allow_origins=allowed)) as app:
        reply = await app.call(headers, method="OPTIONS" if preflight else "POST")
    assert reply.headers.get(ALLOW) == answer
    assert "Access-Control-Allow-Credentials" not in reply.headers
    if preflight:
        assert reply.status == (405 if answer is None else 204)
    else:
        assert (reply.status, reply.text) == (200, "ok")
    if origin is not None and allowed:
        assert reply.headers["Vary"] == "Origin"


async def test_a_preflight_gets_methods_headers_and_cache_time() -> None:
    async with running(cors(allow_origins=[CHAT], max_age=60)) as app:
        reply = await app.call(
            {
                "Origin": CHAT,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization, x-stainless-os",
            },
            method="OPTIONS",
        )
    assert reply.status == 204
    assert "POST" in reply.headers["Access-Control-Allow-Methods"]
    assert reply.headers["Access-Control-Allow-Headers"] == "authorization, x-stainless-os"
    assert reply.headers["Access-Control-Max-Age"] == "60"
    assert reply.text == ""


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ({"Access-Control-Request-Private-Network": "true"}, "true"),
        ({"Access-Control-Request-Private-Network": "false"}, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize("allowed", [CHAT, "*"])
async def test_a_page_of_the_internet_may_reach_a_private_network_if_it_asks(
    allowed: str, headers: dict[str, str], answer: str | None
) -> None:
    preflight = {"Origin": CHAT, "Access-Control-Request-Method": "POST", **headers}
    async with running(cors(allow_origins=[allowed])) as app:
        reply = await app.call(preflight, method="OPTIONS")
    assert reply.headers.get("Access-Control-Allow-Private-Network") == answer


async def test_other_pages_get_no_access_to_the_private_network() -> None:
    preflight = {
        "Origin": "https://other.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Private-Network": "true",
    }
    async with running(cors(allow_origins=[CHAT])) as app:
        reply = await app.call(preflight, method="OPTIONS")
    assert "Access-Control-Allow-Private-Network" not in reply.headers


@pytest.mark.parametrize(
    ("origin", "says"),
    [
        ("https://*.example.org", "only '*' alone"),
        ("http://localhost:*", "only '*' alone"),
        ("example.org", "begin it with https:// or http://"),
        ("https://a.example/path", "it has no path"),
        ("https://a.example?a", "it has no path"),
        ("https://ada:word@a.example", "it has no path, query, name or password"),
        ("HTTPS://A.Example", "small letters"),
        ("https://a.example:443", "remove :443"),
        ("http://a.example:80", "remove :80"),
        (" https://a.example", "remove the blanks"),
        ("https://例子.example", "xn--"),
        ("https://a.example:99999", "1 to 65535"),
        ("https://a b.example", "is not an origin that browsers send"),
        ("https://", "is not an origin that browsers send"),
    ],
)
def test_an_origin_that_no_browser_sends_is_a_mistake(origin: str, says: str) -> None:
    mistakes = Mistakes()
    read_middlewares([{"cors": {"allow_origins": [CHAT, origin]}}], "middlewares", mistakes)
    assert list(mistakes) == ["middlewares[0].cors.allow_origins[1]"]
    assert says in mistakes["middlewares[0].cors.allow_origins[1]"]


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "null",
        "https://a.example",
        "https://a.example/",
        "http://localhost:3000",
        "http://[::1]:3000",
        "https://a.example:80",
        "https://xn--fsqu00a.example",
        "chrome-extension://abcdefghijklmnop",
        "vscode-webview://0a1b",
        "tauri://localhost",
    ],
)
def test_origins_that_browsers_send_are_taken(origin: str) -> None:
    mistakes = Mistakes()
    read_middlewares([{"cors": {"allow_origins": [origin]}}], "middlewares", mistakes)
    assert mistakes == {}


async def test_a_preflight_needs_no_key() -> None:
    keys = api_key(keys=[Key("a", Secret("team-key-1234"))])
    async with running(cors(allow_origins=[CHAT]), keys) as app:
        preflight = {"Origin": CHAT, "Access-Control-Request-Method": "POST"}
        assert (await app.call(preflight, method="OPTIONS")).status == 204
        others = await app.call({"Origin": "https://x.example"}, method="OPTIONS")
        assert others.status == 405
        assert ALLOW not in others.headers
        assert (await app.call({"Origin": CHAT})).status == 401


@pytest.mark.parametrize("path", ["/here", "/nowhere"])
async def test_errors_may_be_read_by_the_page_too(path: str) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        raise RateLimited("no", retry_after=1.0)

    async with running(cors(allow_origins=[CHAT]), handler=handler) as app:
        reply = await app.call({"Origin": CHAT}, path=path)
    assert reply.status in (429, 404)
    assert reply.headers[ALLOW] == CHAT
    exposed = reply.headers["Access-Control-Expose-Headers"]
    assert {"x-request-id", "request-id", "retry-after"} <= set(exposed.split(", "))


async def test_a_stream_may_be_read_by_the_page_too() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"data")
        return response

    async with running(cors(allow_origins=[CHAT]), handler=handler) as app:
        assert (await app.call({"Origin": CHAT})).headers[ALLOW] == CHAT


async def test_an_options_request_that_is_no_preflight_goes_on() -> None:
    async with running(cors(allow_origins=[CHAT])) as app:
        assert (await app.call({"Origin": CHAT}, method="OPTIONS")).status == 405
