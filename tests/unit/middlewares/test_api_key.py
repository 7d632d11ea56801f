"""Only requests with a key are admitted, under the key's name."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from gateway import KEY_NAME, PRINCIPAL, Principal
from gateway.middleware import Handler, read_middlewares
from gateway.options import Mistakes, Secret
from middlewares.api_key import WELL_KNOWN_KEYS, Key, api_key
from tests.unit.middlewares.support import App, running

PLAIN, HASHED, CHINESE = "team-key-plain-0001", "team-key-hashed-0002", "密钥-0003"
DIGEST = hashlib.sha256(HASHED.encode()).hexdigest()


@pytest.fixture
async def app() -> AsyncIterator[App]:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(text=request[KEY_NAME])

    keys = [
        Key("plain", Secret(PLAIN)),
        Key("hashed", Secret(f"sha256:{DIGEST.upper()}")),
        Key("chinese", Secret(CHINESE)),
    ]
    async with running(api_key(keys=keys), handler=handler) as app:
        yield app


async def raw_call(app: App, *headers: bytes) -> tuple[int, dict[str, Any] | str]:
    """Bytes that no client library would send."""
    address = urlsplit(app.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    lines = [b"POST /here HTTP/1.1", b"Host: a", b"Connection: close", *headers, b"", b""]
    writer.write(b"\r\n".join(lines))
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    status = int(head.split()[1])
    return status, json.loads(body) if status != 200 else body.decode()


@pytest.mark.parametrize(("key", "name"), [(PLAIN, "plain"), (HASHED, "hashed")])
@pytest.mark.parametrize(
    ("header", "form"),
    [
        ("Authorization", "Bearer {}"),
        ("authorization", "bearer {}"),
        ("Authorization", "BEARER  {}"),
        ("x-api-key", "{}"),
        ("X-Api-Key", "{}"),
        ("api-key", "{}"),
    ],
)
async def test_a_key_is_taken_from_each_header_in_each_form(
    app: App, key: str, name: str, header: str, form: str
) -> None:
    reply = await app.call({header: form.format(key)})
    assert (reply.status, reply.text) == (200, name)


def basic(credentials: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"}


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC "])
@pytest.mark.parametrize("user", ["", "any", "a@b"])
async def test_a_key_is_the_password_of_basic_credentials(app: App, scheme: str, user: str) -> None:
    encoded = base64.b64encode(f"{user}:{HASHED}".encode()).decode()
    reply = await app.call({"Authorization": f"{scheme} {encoded}"})
    assert (reply.status, reply.text) == (200, "hashed")
    assert (await app.call(basic(f"any:{CHINESE}"))).text == "chinese"


async def test_the_credentials_of_a_proxy_do_not_hide_a_key(app: App) -> None:
    """A proxy that asks for a password passes it on beside the client's own header."""
    for header in ("x-api-key", "api-key"):
        reply = await app.call({**basic("proxy:password of the proxy"), header: PLAIN})
        assert (reply.status, reply.text) == (200, "plain")


async def test_a_wrong_password_is_a_wrong_key(app: App) -> None:
    reply = await app.call(basic("any:wrong-key-0123456789"))
    assert (reply.status, "****6789" in reply.text) == (401, True)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic(PLAIN),
        basic(f"{PLAIN}:"),
        {"Authorization": "Basic"},
        {"Authorization": "Basic gA=="},
        {"Authorization": "Basic \u00e9"},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Basic {PLAIN}"},
        {"Authorization": PLAIN},
        {"x-api-key": ""},
        {"Cookie": f"x-api-key={PLAIN}"},
    ],
)
async def test_without_a_key_the_answer_is_a_401_that_says_how(
    app: App, headers: dict[str, str]
) -> None:
    reply = await app.call(headers)
    assert reply.status == 401
    assert reply.headers["WWW-Authenticate"] == "Bearer"
    assert reply.headers["x-should-retry"] == "false"
    error = json.loads(reply.text)["error"]
    assert "Authorization: Bearer" in error.pop("message")
    assert error == {"type": "invalid_request_error", "param": None, "code": "invalid_api_key"}


async def test_a_key_in_the_address_is_no_key(app: App) -> None:
    assert (await app.call(path=f"/here?api-key={PLAIN}")).status == 401


@pytest.mark.parametrize(
    "key",
    [
        "wrong",
        PLAIN[:-1],
        PLAIN + "x",
        PLAIN.upper(),
        DIGEST,
        f"sha256:{DIGEST}",
        "x" * 7000,
        "Bearer",
    ],
)
async def test_a_wrong_key_is_a_401_that_does_not_show_it(app: App, key: str) -> None:
    for headers in ({"Authorization": f"Bearer {key}"}, {"x-api-key": key}):
        reply = await app.call(headers)
        assert reply.status == 401
        assert key not in json.loads(reply.text)["error"]["message"].replace("API key", "")
        assert len(reply.text) < 400
        assert json.loads(reply.text)["error"]["code"] == "invalid_api_key"


async def test_only_the_end_of_a_long_wrong_key_is_shown(app: App) -> None:
    reply = await app.call({"x-api-key": "wrong-key-0123456789"})
    assert "****6789" in reply.text
    assert "56789" not in reply.text
    assert "****" in (await app.call({"x-api-key": "short"})).text
    assert "hort" not in (await app.call({"x-api-key": "short"})).text


@pytest.mark.parametrize(
    "given",
    [b"\xff\xfe\x80", b"\xed\xa0\x80", CHINESE.encode("gbk"), b"\xe9" * 20, b"\x80"],
)
@pytest.mark.parametrize("form", [b"Authorization: Bearer %s", b"x-api-key: %s", b"api-key: %s"])
async def test_a_key_of_odd_bytes_is_a_401_in_clean_json(
    app: App, given: bytes, form: bytes
) -> None:
    status, body = await raw_call(app, form % given)
    assert status == 401
    assert isinstance(body, dict)
    assert body["error"]["message"].isprintable()


async def test_a_key_need_not_be_ascii(app: App) -> None:
    assert await raw_call(app, b"x-api-key: " + CHINESE.encode()) == (200, "chinese")


async def test_the_unknown_route_is_not_shown_without_a_key(app: App) -> None:
    assert (await app.call(path="/nowhere")).status == 401
    assert (await app.call({"x-api-key": PLAIN}, path="/nowhere")).status == 404


async def test_without_configured_keys_every_request_is_refused() -> None:
    async with running(api_key(keys=[])) as app:
        assert (await app.call({"x-api-key": "anything"})).status == 401
        assert (await app.call()).status == 401


@pytest.mark.parametrize(
    "key", ["sha256:", "sha256:12", f"sha256:{'g' * 64}", f"sha256:{'0' * 65}"]
)
def test_a_malformed_digest_stops_the_start(key: str) -> None:
    mistakes = Mistakes()
    read_middlewares([{"api_key": {"keys": [{"name": "a", "key": key}]}}], "middlewares", mistakes)
    assert list(mistakes) == ["middlewares[0].api_key.keys[0].key"]
    assert "64 hexadecimal digits" in mistakes["middlewares[0].api_key.keys[0].key"]


def test_the_document_lists_every_well_known_key() -> None:
    text = (Path(__file__).parents[3] / "docs/middlewares.md").read_text("utf-8")
    (listed,) = re.findall(r"```text\n(fg-demo-key.*?)```", text, re.DOTALL)
    assert set(listed.split()) == WELL_KNOWN_KEYS


@pytest.mark.parametrize(
    "key", [*sorted(WELL_KNOWN_KEYS), "CHANGEME", "sk-test", "sk-xxxx", "<your-key>"]
)
def test_a_key_that_everybody_knows_stops_the_start_also_as_a_digest(key: str) -> None:
    digest = f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"
    for written in (key, digest) if key in {*WELL_KNOWN_KEYS, "sk-test"} else (key,):
        mistakes = Mistakes()
        chain = [{"api_key": {"keys": [{"name": "a", "key": written}]}}]
        read_middlewares(chain, "middlewares", mistakes)
        assert list(mistakes) == ["middlewares[0].api_key.keys[0].key"]
        assert "openssl rand -hex 24" in mistakes["middlewares[0].api_key.keys[0].key"]


async def test_requests_of_one_name_share_one_principal() -> None:
    seen: list[Principal] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append(request[PRINCIPAL])
        return web.Response()

    keys = [Key("alice", Secret(PLAIN)), Key("alice", Secret(HASHED)), Key("bob", Secret(CHINESE))]
    async with running(api_key(keys=keys), handler=handler) as app:
        for key in (PLAIN, HASHED, PLAIN):
            assert (await app.call({"x-api-key": key})).status == 200
    assert seen[0] == Principal(id="alice", name="alice", source="config")
    assert all(principal is seen[0] for principal in seen)


async def test_a_name_is_recorded_only_if_one_of_its_keys_says_so() -> None:
    seen: dict[str, bool] = {}

    async def handler(request: web.Request) -> web.StreamResponse:
        principal = request[PRINCIPAL]
        seen[principal.name] = principal.record
        return web.Response()

    keys = [
        Key("alice", Secret("alice-key-000001")),
        Key("bob", Secret("bob-key-00000001")),
        Key("bob", Secret("bob-key-00000002"), record=True),
    ]
    async with running(api_key(keys=keys), handler=handler) as app:
        for key in keys:
            await app.call({"x-api-key": key.key.value})
    assert seen == {"alice": False, "bob": True}


async def test_options_has_no_principal() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(text=str(request.get(PRINCIPAL)))

    async def answered(request: web.Request, inner: Handler) -> web.StreamResponse:
        return await handler(request)

    async with running(api_key(keys=[Key("a", Secret(PLAIN))]), answered) as app:
        reply = await app.call({"x-api-key": PLAIN}, method="OPTIONS")
    assert (reply.status, reply.text) == (200, "None")


async def test_an_empty_list_of_keys_admits_nobody() -> None:
    async with running(api_key(keys=[])) as app:
        assert (await app.call()).status == 401
        assert (await app.call({"x-api-key": PLAIN})).status == 401
