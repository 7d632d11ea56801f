"""A small application behind the admission, whose clocks a test sets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from gateway.admission.admission import AdmissionControl, InferenceRoute
from gateway.config.settings import (
    AccountSettings,
    Config,
    FittenSettings,
    LimitSettings,
    ServerSettings,
    TeamSettings,
)
from gateway.fitten.model_catalog import DEFAULT_MODEL
from gateway.generation.outcome import Usage
from gateway.generation.request import Fill, GenerationRequest, Message
from gateway.keys.directory import KeyDirectory
from gateway.ledger.ledger import Ledger
from gateway.limits.expectation import Expectation
from gateway.limits.queue import AdmissionQueue
from gateway.middleware import OUTCOME, Middleware
from gateway.options import Secret
from tests.unit.limits.support import Clocked
from tests.unit.middlewares.support import App, running

CHAT = GenerationRequest((Message("user", "hi"),))
FILL = GenerationRequest((), (Fill("x = ", "\n"),))


class Admitting:
    """An application with `/chat`, `/fill` and `/list`; its clocks are those of `clocked`.

    prompt: what each prompt is estimated at. used: tokens of prompt and answer, None for unknown.
    meanwhile: what happens between the claim and the answer. answered: how often it came so far.
    """

    def __init__(self, *, teams: tuple[TeamSettings, ...] = (), **limits: Any) -> None:
        self.clocked = Clocked(zone="Asia/Shanghai")
        self.queue = AdmissionQueue(self.clocked.meter, limits.pop("queue_wait", 0.0))
        self.prompt = 10
        self.keys = KeyDirectory()
        self.used: tuple[int, int] | None = None
        self.meanwhile: Callable[[], Awaitable[object]] | None = None
        self.answered = 0
        config = Config(
            fitten=FittenSettings(accounts=(AccountSettings("a", Secret("secret")),)),
            server=ServerSettings(time_zone="Asia/Shanghai"),
            limits=LimitSettings(**limits),
            teams=teams,
        )
        self.expectation = Expectation()
        self.admission = AdmissionControl(
            config,
            self.queue,
            Ledger(),
            self.expectation,
            lambda _: self.prompt,
            self.keys,
        )
        self.admission.routes[self._chat] = InferenceRoute("chat", "chat")
        self.admission.routes[self._fill] = InferenceRoute("completion", "fim")

    @asynccontextmanager
    async def running(self, *chain: Middleware) -> AsyncIterator[App]:
        """Run it behind a chain of middlewares."""
        routes = {"/chat": self._chat, "/fill": self._fill, "/list": self._list}
        async with running(*chain, routes=routes, admission=self.admission, keys=self.keys) as app:
            yield app

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, CHAT)

    async def _fill(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, FILL)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        return response

    async def _answer(self, request: web.Request, parsed: GenerationRequest) -> web.StreamResponse:
        await self.admission.admit(request, parsed, DEFAULT_MODEL)
        try:
            self.answered += 1
            if self.meanwhile is not None:
                await self.meanwhile()
            if self.used is not None:
                request[OUTCOME].usage = Usage(*self.used)
            return web.Response(text="ok")
        finally:
            self.admission.settle(request)


async def statuses(app: App, count: int, who: str = "", path: str = "/chat") -> list[int]:
    """Send requests at once; the header `who` names the key."""
    headers = {"who": who} if who else None
    calls = [app.call(headers, path=path) for _ in range(count)]
    return [reply.status for reply in await asyncio.gather(*calls)]
