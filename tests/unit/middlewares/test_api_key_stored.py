"""Keys that are made at run time: admitted as long as the newest table says so."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from aiohttp import web

from gateway import KEY_NAME, PATH_KEY, PRINCIPAL, Handler, Principal, parse_key_text
from gateway.keys.directory import KeyDirectory
from gateway.keys.key_text import new_key_text
from gateway.keys.records import KeyRecord
from gateway.middleware import read_middlewares
from gateway.options import Mistakes, Secret
from middlewares.api_key import Key, api_key
from tests.unit.keys.support import key, secret, table
from tests.unit.middlewares.support import App, MiddlewareReply, running

NOW = time.time_ns() // 1_000_000
HOUR_MS = 3_600_000


def directory(*keys: KeyRecord) -> KeyDirectory:
    made = KeyDirectory()
    made.replace(table(*keys))
    return made


async def name_of(request: web.Request) -> web.StreamResponse:
    return web.Response(text=request[KEY_NAME])


async def ask(app: App, text: str) -> MiddlewareReply:
    return await app.call({"Authorization": f"Bearer {text}"})


def error_of(reply: MiddlewareReply) -> tuple[int, str, str]:
    error: dict[str, Any] = json.loads(reply.text)["error"]
    return reply.status, error["code"], error["message"]


async def test_a_key_made_at_run_time_is_admitted_beside_those_of_the_configuration() -> None:
    alice, text = key("alice", expires_at=NOW + HOUR_MS)
    chain = api_key(keys=[Key("bob", Secret("bob-key-00000001"))])
    async with running(chain, handler=name_of, keys=directory(alice)) as app:
        assert (await ask(app, text)).text == "alice"
        assert (await ask(app, "bob-key-00000001")).text == "bob"


async def test_a_key_of_the_configuration_may_look_like_one_made_at_run_time() -> None:
    text = new_key_text("api").text
    async with running(api_key(keys=[Key("bob", Secret(text))]), handler=name_of) as app:
        assert (await ask(app, text)).text == "bob"


async def test_guessed_keys_are_counted_by_address_and_a_right_one_still_passes() -> None:
    alice, text = key("alice")
    async with running(api_key(keys=[]), handler=name_of, keys=directory(alice)) as app:
        wrong = [new_key_text("api", alice.id).text for _ in range(11)]
        replies = [await ask(app, one) for one in wrong]
        assert [reply.status for reply in replies] == [401] * 10 + [429]
        said = f"Incorrect API key provided: ****{wrong[0][-4:]}."
        assert error_of(replies[0]) == (401, "invalid_api_key", said)
        assert (await ask(app, text)).status == 200


async def test_a_key_that_expired_says_so_however_often_it_is_sent() -> None:
    alice, text = key("alice", expires_at=NOW - 1)
    async with running(api_key(keys=[]), keys=directory(alice)) as app:
        for _ in range(15):
            status, code, message = error_of(await ask(app, text))
            assert (status, code) == (401, "invalid_api_key")
            assert message.startswith("This API key expired at ")


async def test_a_secret_whose_grace_is_over_is_refused_and_the_new_one_works() -> None:
    old = new_key_text("api")
    new = new_key_text("api", old.id)
    alice = key("alice")[0]
    alice = KeyRecord(
        id=old.id,
        kind="api",
        name="alice",
        version=2,
        created_at=alice.created_at,
        created_by=alice.created_by,
        secrets=(secret(old, NOW - 1), secret(new)),
    )
    async with running(api_key(keys=[]), handler=name_of, keys=directory(alice)) as app:
        assert error_of(await ask(app, old.text))[:2] == (401, "invalid_api_key")
        assert (await ask(app, new.text)).text == "alice"


async def test_a_blocked_key_is_403_with_the_reason_and_the_log_knows_whose_it_was() -> None:
    alice, text = key("alice", blocked_at=NOW, blocked_reason="on holiday")
    seen: list[Principal | None] = []

    async def outer(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        finally:
            seen.append(request.get(PRINCIPAL))

    async with running(outer, api_key(keys=[]), keys=directory(alice)) as app:
        status, code, message = error_of(await ask(app, text))
    assert (status, code) == (403, "key_blocked")
    assert "on holiday" in message
    assert [principal.name for principal in seen if principal] == ["alice"]


async def test_an_admin_key_opens_no_route_of_the_apis_and_is_told_so() -> None:
    root, text = key("root", "admin", role="admin")
    async with running(api_key(keys=[]), keys=directory(root)) as app:
        status, code, message = error_of(await ask(app, text))
    assert (status, code) == (401, "invalid_api_key")
    assert "admin API" in message


async def test_a_key_made_at_run_time_is_not_taken_from_a_url() -> None:
    alice, text = key("alice")

    async def path_key(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[PATH_KEY] = request.headers["path-key"]
        return await handler(request)

    async with running(path_key, api_key(keys=[]), keys=directory(alice)) as app:
        status, code, message = error_of(await app.call({"path-key": text}))
    assert (status, code) == (401, "invalid_api_key")
    assert message.startswith("This key must be sent in a header")


async def test_a_key_revoked_while_its_request_runs_is_refused_at_the_next_one() -> None:
    alice, text = key("alice")
    keys = directory(alice)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def handler(_: web.Request) -> web.StreamResponse:
        begun.set()
        await go_on.wait()
        return web.Response(text="whole")

    async with running(api_key(keys=[]), handler=handler, keys=keys) as app:
        running_request = asyncio.ensure_future(ask(app, text))
        await begun.wait()
        keys.replace(table(version=2))
        assert (await ask(app, text)).status == 401
        go_on.set()
        reply = await running_request
        assert (reply.status, reply.text) == (200, "whole")
        # Its end has brought nothing back.
        assert (await ask(app, text)).status == 401


def test_other_middlewares_see_that_a_text_is_a_key() -> None:
    chain = api_key(keys=[])
    text = new_key_text("api").text
    assert chain.is_key(text)
    assert parse_key_text(text) is not None
    assert not chain.is_key(text[:-1])


async def test_lists_of_the_configuration_are_in_the_principal() -> None:
    seen: list[Principal] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append(request[PRINCIPAL])
        return web.Response()

    keys = [
        Key("alice", Secret("alice-key-000001"), models=["a"], routes=[]),
        Key("alice", Secret("alice-key-000002")),
    ]
    async with running(api_key(keys=keys), handler=handler) as app:
        for one in keys:
            await app.call({"x-api-key": one.key.value})
    assert {(one.models, one.routes) for one in seen} == {(frozenset({"a"}), frozenset())}


@pytest.mark.parametrize(
    ("more", "at"),
    [
        ([{"models": ["a"]}, {"models": ["b"]}], "[1].name"),
        ([{"routes": ["fim"]}, {"routes": []}], "[1].name"),
        ([{"routes": ["chat", "chats"]}], "[0].routes[1]"),
        ([{"models": "a"}], "[0].models"),
    ],
)
def test_lists_that_contradict_each_other_or_are_wrong_stop_the_start(
    more: list[dict[str, Any]], at: str
) -> None:
    mistakes = Mistakes()
    keys = [
        {"name": "alice", "key": f"alice-key-00000{index}", **item}
        for index, item in enumerate(more)
    ]
    read_middlewares([{"api_key": {"keys": keys}}], "middlewares", mistakes)
    assert list(mistakes) == [f"middlewares[0].api_key.keys{at}"]
