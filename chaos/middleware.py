"""Provides a middleware that shows what cannot be seen from outside the gateway under test.

In config.yaml: `"chaos.middleware:Inside": {journal: /path}`. Use it only in these runs: it answers
without a key, and it reads the pool of accounts.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from gateway import Handler
from gateway.app import ACCOUNTS
from gateway.fitten.account_registry import LocalAccountRegistry

HEADER = "x-chaos-inside"


class Inside:
    """Answers requests that have the header `x-chaos-inside` with what the process holds.

    journal: a file to which each other request's arrival and end are written at once, so
    that a kill loses none of them: `PID SECONDS + TAG` and `PID SECONDS - TAG`, seconds of
    the monotonic clock, which all processes share.
    """

    def __init__(self, *, journal: str) -> None:
        self._path = journal
        self._file = -1

    async def lifespan(self, _: web.Application) -> AsyncIterator[None]:
        """Keep the journal open while the application runs."""
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        yield
        os.close(self._file)

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if HEADER in request.headers:
            return web.json_response(_held(request.app))
        tag = request.headers.get("x-request-id", "-")
        self._note("+", tag)
        try:
            return await handler(request)
        finally:
            self._note("-", tag)

    def _note(self, sign: str, tag: str) -> None:
        line = f"{os.getpid()} {time.monotonic():.6f} {sign} {tag}\n"
        os.write(self._file, line.encode())  # one write, appended: lines never mix


def _held(app: web.Application) -> dict[str, Any]:
    accounts = app[ACCOUNTS]
    assert isinstance(accounts, LocalAccountRegistry), "with workers, the parent keeps them"
    pool = accounts.pool
    return {
        "tasks": dict(Counter(_name(task) for task in asyncio.all_tasks())),
        "slots": sum(account.busy + account.completions_busy for account in pool.accounts),
        "queued": pool.queue.size,
        "accounts": {account.name: account.state for account in pool.accounts},
    }


def _name(task: asyncio.Task[object]) -> str:
    work = task.get_coro()
    return str(getattr(work, "__qualname__", work))
