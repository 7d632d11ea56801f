"""Limits how many requests a minute each caller may make."""

from __future__ import annotations

import math
from typing import Annotated

from aiohttp import web

from gateway import (
    RESPONSE_HEADERS,
    WINDOWS,
    Amount,
    Between,
    Handler,
    LimitOptions,
    RateLimited,
    Window,
    caller_of,
)

_MINUTE = 60.0


class rate_limit:
    """Limits the requests of each key in any 60 seconds; without a key, of each address.

    Refused requests do not count.

    These are the limits of keys that have none of their own.

    requests_per_minute: chats, 1 to 100,000.
    completions_per_minute: code completions; None for no limit.
    listings_per_minute: requests of any other route that needs a key, such as the models.
    tokens_per_minute: tokens of prompts and answers.
    concurrency: chats and completions at once.
    requests_per_day: chats and completions; the day is that of `server.time_zone`.
    requests_per_month: the same for a calendar month.
    tokens_per_5h: tokens in any five hours.
    tokens_per_day: tokens of a day.
    tokens_per_7d: tokens in any seven days.
    tokens_per_month: tokens of a calendar month.
    max_callers: how many callers are remembered. Above it, the least recently seen caller is
        forgotten, so that many addresses cannot fill the memory.
    """

    def __init__(
        self,
        *,
        requests_per_minute: Annotated[int, Between(1, 100_000)],
        completions_per_minute: Annotated[int, Amount(100_000)] | None = 300,
        listings_per_minute: Annotated[int, Amount(100_000)] | None = 120,
        tokens_per_minute: Annotated[int, Amount(10**15)] | None = None,
        concurrency: Annotated[int, Amount(100_000)] | None = None,
        requests_per_day: Annotated[int, Amount(10**15)] | None = None,
        requests_per_month: Annotated[int, Amount(10**15)] | None = None,
        tokens_per_5h: Annotated[int, Amount(10**15)] | None = None,
        tokens_per_day: Annotated[int, Amount(10**15)] | None = None,
        tokens_per_7d: Annotated[int, Amount(10**15)] | None = None,
        tokens_per_month: Annotated[int, Amount(10**15)] | None = None,
        max_callers: Annotated[int, Between(1, 10_000_000)] = 10_000,
    ) -> None:
        self._window = Window(requests_per_minute, _MINUTE, max_callers)
        self.max_callers = max_callers
        self.limits = LimitOptions(
            chats_per_minute=requests_per_minute,
            completions_per_minute=completions_per_minute,
            listings_per_minute=listings_per_minute,
            tokens_per_minute=tokens_per_minute,
            concurrency=concurrency,
            requests_per_day=requests_per_day,
            requests_per_month=requests_per_month,
            tokens_per_5h=tokens_per_5h,
            tokens_per_day=tokens_per_day,
            tokens_per_7d=tokens_per_7d,
            tokens_per_month=tokens_per_month,
        ).by_name()
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
