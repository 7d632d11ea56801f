"""Limits how many requests a minute each caller may make."""

from __future__ import annotations

import math
from typing import Annotated

from aiohttp import web

from gateway import (
    RESPONSE_HEADERS,
    WINDOWS,
    Between,
    Handler,
    RateLimited,
    Window,
    caller_of,
)

_MINUTE = 60.0


class rate_limit:
    """Limits the requests of each key in any 60 seconds; without a key, of each address.

    Refused requests do not count.

    requests_per_minute: 1 to 100,000.
    max_callers: how many callers are remembered. Above it, the least recently seen caller is
        forgotten, so that many addresses cannot fill the memory.
    """

    def __init__(
        self,
        *,
        requests_per_minute: Annotated[int, Between(1, 100_000)],
        max_callers: Annotated[int, Between(1, 10_000_000)] = 10_000,
    ) -> None:
        self._window = Window(requests_per_minute, _MINUTE, max_callers)
        self.label = "rate_limit"

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        caller = caller_of(request)
        limit = self._window.limit
        # The gateway counts, not this object: so counts outlive a reload, and workers share them.
        admission = await request.app[WINDOWS].admit(self.label, caller, self._window)
        headers = request[RESPONSE_HEADERS]
        headers["x-ratelimit-limit-requests"] = str(limit)
        left = limit - admission.count
        headers["x-ratelimit-remaining-requests"] = str(left) if left > 0 else "0"
        headers["x-ratelimit-reset-requests"] = duration(admission.last)
        if not admission.admitted:
            wait = max(admission.first, 0.001)
            raise RateLimited(
                f"Rate limit reached: {limit} requests per minute. Please try again in "
                f"{math.ceil(wait)}s.",
                retry_after=wait,
            )
        return await handler(request)


def duration(seconds: float) -> str:
    """Format seconds as in OpenAI's rate-limit headers: `120ms`, `1.5s`, `6m0s`."""
    milliseconds = math.ceil(seconds * 1000)
    if milliseconds < 1000:
        return f"{max(0, milliseconds)}ms"
    seconds = math.ceil(seconds * 10) / 10
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}m{rest:g}s" if minutes else f"{rest:g}s"
