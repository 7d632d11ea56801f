"""Runs a Fitten whose answers a test writes down, and which keeps the prompts that it got."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.waiting import LONGEST_WAIT

VALUE = "%V%"
"""Stands for the value of the blocks in the text of an answer."""

PAUSE = object()
"""Makes an answer wait until the test calls `go_on`."""

CUT = object()
"""Makes the connection break here."""

_LOGIN = {"access_token": "a", "refresh_token": "r", "user_info": {"user_id": "u"}}


@dataclass
class ScriptedFitten:
    """Answers each chat with the next of `answers`, each a list of texts, dicts, PAUSE or CUT.

    piece: the most characters of a piece; 0 sends each text as one piece.
    """

    answers: list[Sequence[Any]] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    cut: bool = False
    piece: int = 0

    def __post_init__(self) -> None:
        self._more = asyncio.Event()

    def go_on(self) -> None:
        self._more.set()

    @property
    def value(self) -> str:
        return value_in(self.prompts[-1])

    async def chat(self, request: web.Request) -> web.StreamResponse:
        prompt = json.loads(await request.read())["inputs"]
        self.prompts.append(prompt)
        response = web.StreamResponse()
        await response.prepare(request)
        for item in self.answers.pop(0):
            if item is PAUSE:
                await asyncio.wait_for(self._more.wait(), LONGEST_WAIT)
                self._more.clear()
                continue
            if item is CUT:
                assert request.transport is not None
                request.transport.abort()
                return response
            lines = [item]
            if isinstance(item, str):
                text = item.replace(VALUE, value_in(prompt))
                step = self.piece or len(text)
                lines = [{"delta": text[at : at + step]} for at in range(0, len(text), step)]
            for line in lines:
                await response.write(json.dumps(line).encode() + b"\n")
        if self.cut:
            assert request.transport is not None
            request.transport.abort()
            return response
        usage = {"input_tokens": len(prompt) // 4, "output_tokens": 7}
        await response.write(json.dumps({"usage": usage}).encode() + b"\n")
        return response


def value_in(prompt: str) -> str:
    found = re.search(r"<tools-(\w+)>", prompt)
    return found[1] if found else ""


@asynccontextmanager
async def running_fitten() -> AsyncIterator[tuple[ScriptedFitten, str]]:
    """Run it on a free port; yield it and its address."""
    fitten = ScriptedFitten()
    app = web.Application(client_max_size=2**24)

    async def login(_: web.Request) -> web.Response:
        return web.json_response(_LOGIN)

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"chat": []})

    app.router.add_post("/codeuser/auth/login", login)
    app.router.add_get("/codeapi/chat/models", models)
    app.router.add_post("/codeapi/chat_auth", fitten.chat)
    app.router.add_route("*", "/{rest:.*}", login)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield fitten, f"http://{host}:{port}"
    finally:
        await runner.cleanup()
