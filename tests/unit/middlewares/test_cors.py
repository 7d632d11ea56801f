"""Browsers of named origins may call; others get no permission."""

from __future__ import annotations

import pytest
from aiohttp import web

from gateway import RateLimited
from gateway.options import Secret
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
    assert {"x-request-id", "retry-after"} <= set(exposed.split(", "))


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
