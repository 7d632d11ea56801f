"""A middleware from outside the tree, by its dotted path."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emulator import Emulator
from gateway import Principal
from gateway.config.settings import ConfigError
from tests.conftest import StartGateway
from tests.integration.conftest import Connect
from tests.integration.peer import UPSTREAM_CHAT, chat_request, eventually
from tests.support import KEY, Gateway

ROOT = Path(__file__).parents[3]

PLUGIN = '''
import asyncio
from aiohttp import web
from gateway import (
    GENERATION, KEY_NAME, PRINCIPAL, GatewayError, Handler, Principal, Unauthorized,
    principal_of, set_principal,
)

LOG = []


class watch:
    """Notes what happens round a request."""

    def __init__(self, *, word: str, times: int = 1) -> None:
        self._word = word * times

    async def lifespan(self, app: web.Application):
        LOG.append("start")
        yield
        LOG.append("stop")

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        LOG.append(f"before {self._word}")
        try:
            return await handler(request)
        finally:
            generation = request.get(GENERATION)
            LOG.append(f"after {generation.end if generation else None}")


def closed(*, status: int = 200):
    async def middleware(request, handler):
        return web.Response(status=status, text="closed")
    return middleware


def broken():
    async def middleware(request, handler):
        raise RuntimeError("canary")
    return middleware


def broken_late():
    async def middleware(request, handler):
        await handler(request)
        raise RuntimeError("canary")
    return middleware


def teapot():
    async def middleware(request, handler):
        error = GatewayError("I am a teapot.", code="teapot", retryable=False)
        error.status = 418
        raise error
    return middleware


def timeout():
    async def middleware(request, handler):
        raise TimeoutError
    return middleware


class tickets:
    """Admits the principals of a directory of its own, by the header x-ticket."""

    authenticates = True

    def __init__(self, *, team: str) -> None:
        self._people = {
            ticket: Principal(id=f"id-{ticket}", name=name, team=team, limits={"concurrency": 4},
                              models=frozenset({"fitten-code"}), source="tickets")
            for ticket, name in [("t1", "alice"), ("t2", "bob"), ("t3", "alice")]
        }

    async def __call__(self, request, handler):
        if request.headers.get("x-ticket") not in self._people:
            raise Unauthorized("Send a ticket.")
        set_principal(request, self._people[request.headers["x-ticket"]])
        return await handler(request)


class name_only:
    """Sets the name of the key and nothing else."""

    async def __call__(self, request, handler):
        if name := request.headers.get("x-name"):
            request[KEY_NAME] = name
        return await handler(request)


class notes:
    """Notes the principal as other middlewares see it, before and after the handler."""

    async def __call__(self, request, handler):
        LOG.append((principal_of(request), request.get(KEY_NAME)))
        try:
            return await handler(request)
        finally:
            LOG.append((principal_of(request), request.get(KEY_NAME)))
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """A module outside the tree, as `plugin_from_outside`; what it noted."""
    (tmp_path / "plugin_from_outside.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("plugin_from_outside")
    yield module.LOG
    del sys.modules["plugin_from_outside"]


async def test_a_plug_in_wraps_the_whole_stream(
    start_gateway: StartGateway, emulator: Emulator, plugin: list[str]
) -> None:
    middleware = {"plugin_from_outside:watch": {"word": "ab", "times": 2}}
    gateway = await start_gateway(middlewares=[middleware])
    async with gateway.post_chat("[[slow first=0 gap=0.2 n=2]]", stream=True) as response:
        await response.content.readuntil(b"w0 ")
        assert plugin == ["start", "before abab"]
        await response.read()
    assert emulator.calls_to(UPSTREAM_CHAT)[0].done
    await eventually(lambda: plugin == ["start", "before abab", "after complete"])


async def test_a_plug_in_sees_that_a_client_left(
    start_gateway: StartGateway, plugin: list[str]
) -> None:
    gateway = await start_gateway(middlewares=[{"plugin_from_outside:watch": {"word": "x"}}])
    async with gateway.post_chat("[[endless]]", stream=True) as response:
        await response.content.readuntil(b"w0 ")
        response.close()
    await eventually(lambda: plugin[-1] == "after client_closed_request")


async def test_a_plug_in_may_answer_itself(
    start_gateway: StartGateway, emulator: Emulator, plugin: list[str]
) -> None:
    gateway = await start_gateway(middlewares=[{"plugin_from_outside:closed": {"status": 202}}])
    async with gateway.post_chat("[[say]]") as response:
        assert (response.status, await response.text()) == (202, "closed")
    assert not emulator.calls_to(UPSTREAM_CHAT)


async def test_an_error_of_a_plug_in_is_rendered_like_any_other(
    start_gateway: StartGateway, plugin: list[str]
) -> None:
    gateway = await start_gateway(middlewares=["request_id", "plugin_from_outside:teapot"])
    async with gateway.post_chat("[[say]]") as response:
        assert response.status == 418
        assert (await response.json())["error"]["code"] == "teapot"
        assert response.headers["x-request-id"]


@pytest.mark.parametrize("name", ["broken", "broken_late", "timeout"])
async def test_a_bug_of_a_plug_in_is_a_500_without_details(
    start_gateway: StartGateway, plugin: list[str], log_events: list[Any], name: str
) -> None:
    gateway = await start_gateway(middlewares=["request_id", f"plugin_from_outside:{name}"])
    async with gateway.post_chat("[[say]]") as response:
        raw = await response.text()
        error = (await response.json())["error"]
        assert response.status == 500
        assert response.headers["x-should-retry"] == "true"
        name = response.headers["x-request-id"]
    assert (error["type"], error["code"]) == ("server_error", "internal_error")
    assert "canary" not in raw
    assert "Traceback" not in raw
    (bug,) = [event for event in log_events if event["event"] == "bug"]
    assert (bug["log_level"], bug["request_id"]) == ("error", name)


async def test_a_bug_after_an_answer_was_sent_writes_no_second_one_into_it(
    start_gateway: StartGateway, connect: Connect, plugin: list[str]
) -> None:
    gateway = await start_gateway(middlewares=["plugin_from_outside:broken_late"])
    peer = await connect(gateway.url)
    await peer.send(chat_request("[[say]]", stream=True))
    answer = await peer.answer()
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert b"HTTP/1.1" not in answer.body
    other = await connect(gateway.url)
    await other.send(b"GET /health HTTP/1.1\r\nHost: gateway\r\n\r\n")
    assert (await other.answer()).status == 200


API_KEY = {"api_key": {"keys": [{"name": "tester", "key": KEY}]}}
TESTER = Principal(id="tester", name="tester", source="config")
TICKETS = {"plugin_from_outside:tickets": {"team": "web"}}


async def status(gateway: Gateway, **headers: str) -> int:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    async with gateway.post_chat("[[say]]", headers) as response:
        await response.read()
        return int(response.status)


def keys_in(log_events: list[Any]) -> list[Any]:
    """The key of each request in the log."""
    return [event["key"] for event in log_events if event["event"] == "request"]


async def test_a_request_with_a_key_of_the_configuration_carries_its_principal(
    start_gateway: StartGateway, plugin: list[Any]
) -> None:
    gateway = await start_gateway(middlewares=[API_KEY, "plugin_from_outside:notes"])
    assert await status(gateway) == 200
    assert plugin == [(TESTER, "tester")] * 2


async def test_a_refused_request_has_no_principal(
    start_gateway: StartGateway, plugin: list[Any]
) -> None:
    gateway = await start_gateway(middlewares=["plugin_from_outside:notes", API_KEY])
    assert await status(gateway, Authorization="Bearer wrong") == 401
    assert plugin == [(None, None)] * 2


async def test_a_plug_in_that_authenticates_gives_a_whole_principal(
    start_gateway: StartGateway, plugin: list[Any], log_events: list[Any]
) -> None:
    gateway = await start_gateway(middlewares=["request_log", TICKETS, "plugin_from_outside:notes"])
    assert await status(gateway) == 401
    assert await status(gateway, x_ticket="t1") == 200
    (principal, name), after = plugin
    assert principal == Principal(
        id="id-t1",
        name="alice",
        team="web",
        limits={"concurrency": 4},
        models=frozenset({"fitten-code"}),
        source="tickets",
    )
    assert name == "alice"
    assert after == (principal, name)
    assert keys_in(log_events) == [None, "alice"]


async def test_principals_of_one_name_have_a_limit_each(
    start_gateway: StartGateway, plugin: list[Any], log_events: list[Any]
) -> None:
    limit = {"rate_limit": {"requests_per_minute": 1}}
    gateway = await start_gateway(middlewares=["request_log", TICKETS, limit])
    found = [await status(gateway, x_ticket=ticket) for ticket in ("t1", "t3", "t1", "t2")]
    assert found == [200, 200, 429, 200]
    assert keys_in(log_events) == ["alice", "alice", "alice", "bob"]


async def test_a_plug_in_that_sets_only_a_name_has_it_in_the_log_and_in_the_limit(
    start_gateway: StartGateway, plugin: list[Any], log_events: list[Any]
) -> None:
    limit = {"rate_limit": {"requests_per_minute": 1}}
    gateway = await start_gateway(
        middlewares=["request_log", "plugin_from_outside:name_only", limit]
    )
    found = [await status(gateway, x_name=name) for name in ("carol", "carol", "dave")]
    assert found == [200, 429, 200]
    assert keys_in(log_events) == ["carol", "carol", "dave"]


async def test_a_name_that_a_plug_in_sets_after_api_key_replaces_the_principal(
    start_gateway: StartGateway, plugin: list[Any], log_events: list[Any]
) -> None:
    limit = {"rate_limit": {"requests_per_minute": 1}}
    gateway = await start_gateway(
        middlewares=[
            *("request_log", API_KEY, "plugin_from_outside:name_only", limit),
            "plugin_from_outside:notes",
        ]
    )
    assert [await status(gateway), await status(gateway, x_name="carol")] == [200, 200]
    assert [await status(gateway), await status(gateway, x_name="carol")] == [429, 429]
    carol = Principal(id="carol", name="carol", source="middleware")
    assert plugin == ([(TESTER, "tester")] * 2 + [(carol, "carol")] * 2) * 2
    assert keys_in(log_events) == ["tester", "carol"] * 2


async def test_a_plug_in_that_authenticates_may_listen_on_every_address(
    start_gateway: StartGateway, plugin: list[Any]
) -> None:
    gateway = await start_gateway(server={"host": "0.0.0.0"}, middlewares=[TICKETS])
    assert [await status(gateway), await status(gateway, x_ticket="t1")] == [401, 200]


async def test_a_plug_in_that_declares_nothing_may_not_listen_on_every_address(
    start_gateway: StartGateway, plugin: list[Any]
) -> None:
    with pytest.raises(ConfigError, match="no middleware authenticates requests"):
        await start_gateway(
            server={"host": "0.0.0.0"}, middlewares=["plugin_from_outside:name_only"]
        )


async def test_the_authenticating_example_of_the_documentation_works(
    start_gateway: StartGateway,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    log_events: list[Any],
) -> None:
    document = (ROOT / "docs/middlewares.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n(# acme/members\.py\n.*?)```", document, re.DOTALL)
    (tmp_path / "acme_members.py").write_text(example)
    monkeypatch.syspath_prepend(str(tmp_path))
    digest = hashlib.sha256(b"the key of alice").hexdigest()
    members = tmp_path / "members.json"
    members.write_text(json.dumps({digest: {"id": "m1", "name": "alice", "team": "web"}}))
    middleware = {"acme_members:Members": {"path": str(members)}}
    try:
        gateway = await start_gateway(
            server={"host": "0.0.0.0"}, middlewares=["request_log", middleware]
        )
        assert await status(gateway) == 401
        assert await status(gateway, x_api_key="another") == 401
        assert await status(gateway, x_api_key="the key of alice") == 200
    finally:
        sys.modules.pop("acme_members", None)
    assert keys_in(log_events) == [None, None, "alice"]
