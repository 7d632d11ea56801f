"""Sets the limits of callers that have none of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from aiohttp import web

from gateway import LIMIT_DEFAULTS, Amount, Between, Handler, LimitOptions


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

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Say what holds for this caller. The gateway counts, before and after the body."""
        others = request.get(LIMIT_DEFAULTS, {})
        request[LIMIT_DEFAULTS] = _stricter(others, self.limits) if others else self.limits
        return await handler(request)


def _stricter(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """Return the limits of both, and the smaller number where both have one."""
    return {
        name: min(one.get(name, other.get(name, 0)), other.get(name, one.get(name, 0)))
        for name in {**one, **other}
    }
