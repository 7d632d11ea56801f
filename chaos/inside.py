"""A step for the gateway under test that tells how many tasks live in the process.

In config.yaml: `"chaos.inside:Inside"`. Only for these runs: it answers without a key.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from aiohttp import web

from gateway import Handler

HEADER = "x-chaos-inside"


class Inside:
    """Answers requests that have the header `x-chaos-inside` with the names of all tasks."""

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if HEADER not in request.headers:
            return await handler(request)
        names = Counter(_name(task) for task in asyncio.all_tasks())
        return web.json_response(dict(names))


def _name(task: asyncio.Task[object]) -> str:
    work = task.get_coro()
    return str(getattr(work, "__qualname__", work))
