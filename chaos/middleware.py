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
HOLDS = ".holds"
"""Is added to the journal's path: `PID SECONDS MILLISECONDS TAG`, one line for each hold."""

_PROBE = 0.01  # seconds
_SHORTEST_HOLD = 0.001  # seconds


class Inside:
    """Answers requests that have the header `x-chaos-inside` with what the process holds.

    journal: a file to which each other request's arrival and end are written at once, so
    that a kill loses none of them: `PID SECONDS + TAG` and `PID SECONDS - TAG`, seconds of
    the monotonic clock, which all processes share.
    """

    def __init__(self, *, journal: str) -> None:
        self._path = journal
        self._file = -1
        self._holds = -1
        self._last = "-"  # the tag of the last request that arrived or ended

    async def lifespan(self, _: web.Application) -> AsyncIterator[None]:
        """Keep the journal open while the application runs."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._file = os.open(self._path, flags, 0o600)
        self._holds = os.open(self._path + HOLDS, flags, 0o600)
        watch = asyncio.create_task(self._watch())
        yield
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        os.close(self._holds)
        os.close(self._file)

    async def _watch(self) -> None:
        """Write each hold of the event loop that is longer than those before.

        A hold is how late the loop wakes this task, but at most the processor time that its
        thread used meanwhile: other programs on the machine make it late too.
        """
        longest = _SHORTEST_HOLD
        while True:
            began, used, self._last = time.monotonic(), time.thread_time(), "-"
            await asyncio.sleep(_PROBE)
            late = time.monotonic() - began - _PROBE
            held = min(late, time.thread_time() - used)
            if held > longest:
                longest = held
                line = f"{os.getpid()} {time.monotonic():.6f} {held * 1000:.1f} {self._last}\n"
                os.write(self._holds, line.encode())

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if HEADER in request.headers:
            return web.json_response(_held(request.app))
        if request.method != "POST":  # the run's own question what the limits have counted
            return await handler(request)
        tag = request.headers.get("x-request-id", "-")
        self._note("+", tag)
        try:
            return await handler(request)
        finally:
            self._note("-", tag)

    def _note(self, sign: str, tag: str) -> None:
        self._last = tag
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
