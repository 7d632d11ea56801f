"""Every request has an id, in and out."""

from __future__ import annotations

import hashlib
import re

import pytest
import structlog
from aiohttp import web

from gateway import REQUEST_ID, InvalidRequest, Secret
from middlewares.api_key import Key, api_key
from middlewares.request_id import request_id
from tests.unit.middlewares.support import running

MADE = re.compile(r"req_[0-9a-f]{32}")


@pytest.mark.parametrize("given", ["a", "req-1", "A.b_c-9", "x" * 64])
async def test_a_well_formed_id_comes_back(given: str) -> None:
    async with running(request_id()) as app:
        assert (await app.call({"x-request-id": given})).headers["x-request-id"] == given


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        " ",
        "x" * 65,
        "a b",
        "a/b",
        "é",
        "a;b",
        "${jndi}",
        "<b>",
        "a,b",
        "\u0661",
        "sk-a",
        "eyJ1.2.3",
    ],
)
async def test_a_malformed_or_missing_id_is_replaced(given: str | None) -> None:
    async with running(request_id()) as app:
        reply = await app.call(None if given is None else {"x-request-id": given})
        assert MADE.fullmatch(reply.headers["x-request-id"])


async def test_no_two_requests_get_the_same_id() -> None:
    async with running(request_id()) as app:
        ids = {(await app.call()).headers["x-request-id"] for _ in range(20)}
        assert len(ids) == 20


async def test_the_id_is_on_the_request_and_on_its_log_lines() -> None:
    seen = {}

    async def handler(request: web.Request) -> web.StreamResponse:
        seen["request"] = request[REQUEST_ID]
        seen["log"] = structlog.contextvars.get_contextvars()["request_id"]
        return web.Response()

    async with running(request_id(), handler=handler) as app:
        await app.call({"x-request-id": "abc"})
    assert seen == {"request": "abc", "log": "abc"}
    assert "request_id" not in structlog.contextvars.get_contextvars()


@pytest.mark.parametrize("path", ["/here", "/nowhere"])
async def test_errors_carry_the_id_too(path: str) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        raise InvalidRequest("no")

    async with running(request_id(), handler=handler) as app:
        reply = await app.call({"x-request-id": "abc"}, path=path)
        assert reply.status in (400, 404)
        assert reply.headers["x-request-id"] == "abc"


async def test_a_stream_carries_the_id() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"data")
        return response

    async with running(request_id(), handler=handler) as app:
        assert (await app.call({"x-request-id": "abc"})).headers["x-request-id"] == "abc"


async def test_the_header_can_have_another_name() -> None:
    async with running(request_id(header="x-trace")) as app:
        reply = await app.call({"x-trace": "abc"})
        assert reply.headers["x-trace"] == "abc"
        assert "x-request-id" not in reply.headers


KEYS = [
    Key(name="plain", key=Secret("team-key-0123456789")),
    Key(name="hashed", key=Secret(f"sha256:{hashlib.sha256(b'digest-key-0123').hexdigest()}")),
]


@pytest.mark.parametrize("given", ["team-key-0123456789", "digest-key-0123"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer team-key-0123456789"},
        {"x-api-key": "digest-key-0123"},
        {"Authorization": "Bearer wrong"},
        {},
    ],
    ids=str,
)
async def test_a_key_is_never_the_id_whichever_key_the_request_has(
    given: str, headers: dict[str, str]
) -> None:
    async with running(request_id(), api_key(keys=KEYS)) as app:
        reply = await app.call({"x-request-id": given, **headers})
        assert MADE.fullmatch(reply.headers["x-request-id"])
        assert given not in reply.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer key-of-another-service"},
        {"Authorization": "bearer  key-of-another-service "},
        {"x-api-key": "key-of-another-service"},
        {"api-key": "key-of-another-service"},
    ],
    ids=str,
)
async def test_what_is_sent_as_a_key_is_never_the_id(headers: dict[str, str]) -> None:
    async with running(request_id()) as app:
        reply = await app.call({"x-request-id": "key-of-another-service", **headers})
        assert MADE.fullmatch(reply.headers["x-request-id"])
        reply = await app.call({"x-request-id": "another", **headers})
        assert reply.headers["x-request-id"] == "another"
