"""The middleware says what holds; `tests/unit/admission` shows that it does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from gateway import LIMIT_DEFAULTS
from gateway.limits.names import LIMIT_NAMES
from gateway.middleware import Handler
from middlewares.rate_limit import rate_limit
from tests.unit.middlewares.support import running


async def said(*chain: Any) -> dict[str, int]:
    """Return the limits that a handler finds behind these middlewares."""
    found: list[dict[str, int]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        limits: Mapping[str, int] | None = request.get(LIMIT_DEFAULTS)
        found.append(dict(limits or {}))
        return web.Response()

    async with running(*chain, handler=handler) as app:
        assert (await app.call()).status == 200
    return found[0]


async def test_its_options_are_said_to_the_gateway_for_callers_without_limits_of_their_own() -> (
    None
):
    assert await said(rate_limit(requests_per_minute=5, concurrency=2)) == {
        "chats_per_minute": 5,
        "completions_per_minute": 300,
        "listings_per_minute": 120,
        "concurrency": 2,
    }


async def test_of_two_in_one_chain_the_smaller_number_of_each_limit_holds() -> None:
    one = rate_limit(requests_per_minute=5, concurrency=2, listings_per_minute=None)
    other = rate_limit(requests_per_minute=9, concurrency=1, completions_per_minute=50)
    expected = {
        "chats_per_minute": 5,
        "completions_per_minute": 50,
        "listings_per_minute": 120,
        "concurrency": 1,
    }
    assert await said(one, other) == await said(other, one) == expected


async def test_it_lowers_what_another_middleware_said_and_changes_nothing_of_it() -> None:
    shared = {"concurrency": 1, "chats_per_minute": 7}

    async def other(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[LIMIT_DEFAULTS] = shared
        return await handler(request)

    limits = await said(other, rate_limit(requests_per_minute=5, concurrency=2))
    assert (limits["concurrency"], limits["chats_per_minute"]) == (1, 5)
    assert shared == {"concurrency": 1, "chats_per_minute": 7}


def test_an_option_that_is_alone_still_leaves_room_for_completions() -> None:
    """As they come with each key pressed, they must not count as chats."""
    assert rate_limit(requests_per_minute=60).limits == {
        "chats_per_minute": 60,
        "completions_per_minute": 300,
        "listings_per_minute": 120,
    }


def test_every_limit_has_an_option_and_none_takes_one_away() -> None:
    others = {name: 5 for name in LIMIT_NAMES if name != "chats_per_minute"}
    assert rate_limit(requests_per_minute=5, **others).limits == dict.fromkeys(LIMIT_NAMES, 5)
    without = rate_limit(
        requests_per_minute=5, completions_per_minute=None, listings_per_minute=None
    )
    assert without.limits == {"chats_per_minute": 5}
