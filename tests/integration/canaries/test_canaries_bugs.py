"""No secret leaves the process through unexpected exceptions, although they quote everything."""

from __future__ import annotations

import asyncio
import gc
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from gateway.apis.openai.chat_request import ChatCompletions
from gateway.apis.openai.chat_response import ChatResponseEncoder
from gateway.fitten.auth.session import FittenSession
from gateway.fitten.chat.decoder import AnswerDecoder
from gateway.fitten.failover import Failover
from gateway.fitten.upstream import FittenUpstream
from gateway.http.in_flight import InFlightRequests
from tests.integration.canaries.gateway import chat, post, watched_gateway
from tests.integration.canaries.net import API_KEY, PASSWORD, SAID, Net, net, shown
from tests.integration.peer import CHAT

__all__ = ["net"]

MIDDLEWARES = """
import asyncio
import threading
from aiohttp import web
from gateway import GatewayError


async def all_there_is(request):
    heard = f"{dict(request.headers)} {request.raw_path} {await request.text()}"
    locals_too = heard
    return heard


class Finalized:
    def __init__(self, heard): self.heard = heard
    def __del__(self): raise ValueError(self.heard)


def before():
    async def middleware(request, handler):
        raise RuntimeError(await all_there_is(request))
    return middleware


def after():
    async def middleware(request, handler):
        await handler(request)
        raise KeyError(await all_there_is(request))
    return middleware


def of_the_interpreter():
    async def middleware(request, handler):
        heard = await all_there_is(request)
        return int(heard) + {}[heard]
    return middleware


def with_a_cause():
    async def middleware(request, handler):
        heard = await all_there_is(request)
        try:
            try:
                open(heard)
            except OSError:
                raise ValueError(heard)
        except ValueError as error:
            error.add_note(heard)
            raise RuntimeError(heard) from error
    return middleware


def group():
    async def middleware(request, handler):
        heard = await all_there_is(request)
        raise ExceptionGroup(heard, [ValueError(heard), TypeError(heard)])
    return middleware


def in_a_task():
    async def middleware(request, handler):
        async def fails(heard): raise ValueError(heard)
        asyncio.create_task(fails(await all_there_is(request)), name="x")
        return await handler(request)
    return middleware


def in_a_callback():
    async def middleware(request, handler):
        def fails(heard, *, again): raise ValueError(heard)
        heard = await all_there_is(request)
        loop = asyncio.get_running_loop()
        import functools
        loop.call_soon(functools.partial(fails, heard, again=heard))
        loop.call_soon(functools.partial(fails, again=heard), heard)
        loop.call_exception_handler({"message": "a fault", "exception": ValueError(heard),
                                     "protocol": heard, "future": heard})
        return await handler(request)
    return middleware


def of_a_library():
    async def middleware(request, handler):
        import logging
        try:
            raise ValueError(await all_there_is(request))
        except ValueError:
            logging.getLogger("acme").exception("a fault")
        return await handler(request)
    return middleware


def left_open():
    async def middleware(request, handler):
        generator = opened(await all_there_is(request))
        await anext(generator)
        return await handler(request)
    async def opened(heard):
        try:
            yield heard
        finally:
            raise ValueError(heard)
    return middleware
"""
FAILING = ["before", "after", "of_the_interpreter", "with_a_cause", "group"]
SILENT = ["in_a_task", "in_a_callback", "of_a_library", "left_open"]


@pytest.fixture
def canary_middlewares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The module `canary_middlewares`."""
    folder = tmp_path / "plug_in"
    folder.mkdir()
    (folder / "canary_middlewares.py").write_text(MIDDLEWARES)
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()
    yield
    sys.modules.pop("canary_middlewares", None)


def chain(middleware: str) -> list[Any]:
    keys = {"api_key": {"keys": [{"name": "tester", "key": API_KEY}]}}
    return ["request_id", "request_log", keys, f"canary_middlewares:{middleware}"]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("middleware", FAILING + SILENT)
@pytest.mark.usefixtures("canary_middlewares")
async def test_no_secret_leaves_the_process_when_a_middleware_fails(
    net: Net, tmp_path: Path, middleware: str, stream: bool
) -> None:
    async with watched_gateway(net, middleware, tmp_path, middlewares=chain(middleware)) as (
        url,
        _,
    ):
        answer = await post(url, CHAT, chat("[[say]]", stream))
        net.failed(middleware, str(answer.headers), *shown(answer))
        for _ in range(3):
            await asyncio.sleep(0)
        gc.collect()
        await asyncio.sleep(0.01)
    assert (answer.status == 500) == (
        middleware in FAILING and not (middleware == "after" and stream)
    )
    logged = "".join(text for place, text in net.catch if place.startswith("log"))
    assert '"bug"' in logged or '"level":"error"' in logged
    assert "canary_middlewares.py" in logged
    assert net.leaks() == []


def quoting(heard: Any) -> Any:
    """Return a method that fails and quotes its arguments."""

    def fails(self: Any, *given: Any, **more: Any) -> Any:
        raise LookupError(f"{heard} {given!r} {more!r} {[str(one) for one in given]}")

    return fails


# Where, and in which answers: whole ones, streams.
BUGS: dict[str, tuple[type, str, set[bool]]] = {
    "parsing": (ChatCompletions, "read", {False, True}),
    "opening": (Failover, "open", {False, True}),
    "generating": (FittenUpstream, "generate", {False, True}),
    "reading": (AnswerDecoder, "feed", {False, True}),
    "writing": (ChatResponseEncoder, "pieces", {True}),
    "writing it whole": (ChatResponseEncoder, "whole", {False}),
    "ending": (ChatResponseEncoder, "end", {True}),
    "a login": (FittenSession, "_obtain", {False, True}),
    "adopting tokens": (FittenSession, "_adopt", {False, True}),
    "counting": (InFlightRequests, "request", {False, True}),
}


@pytest.mark.parametrize(
    ("place", "stream"), [(place, stream) for place in BUGS for stream in sorted(BUGS[place][2])]
)
async def test_no_secret_leaves_the_process_when_the_gateway_has_a_bug(
    net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, stream: bool
) -> None:
    owner, name, _ = BUGS[place]
    assert hasattr(owner, name)
    monkeypatch.setattr(owner, name, quoting(PASSWORD))
    async with watched_gateway(net, place, tmp_path) as (url, _):
        answer = await post(url, CHAT, chat(f"[[say text={quote(SAID)} piece=5]]", stream))
        net.judge(place, answer)
    logged = "".join(text for where, text in net.catch if where.startswith("log"))
    assert '"bug"' in logged
    assert "LookupError: (" in logged
    assert net.leaks() == []
