"""A middleware from outside the tree, by its dotted path."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emulator import Emulator
from tests.conftest import StartGateway
from tests.integration.conftest import Connect
from tests.integration.peer import UPSTREAM_CHAT, chat_request, eventually

PLUGIN = '''
import asyncio
from aiohttp import web
from gateway import GENERATION, GatewayError, Handler

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
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
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
        assert response.headers["x-request-id"]
    assert (error["type"], error["code"]) == ("server_error", "internal_error")
    assert "canary" not in raw
    assert "Traceback" not in raw
    (bug,) = [event for event in log_events if event["event"] == "bug"]
    assert bug["log_level"] == "error"


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
