"""Exactly the limit is admitted, in any sixty seconds."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway import (
    KEY_NAME,
    RESPONSE_HEADERS,
    WINDOWS,
    Principal,
    RateLimited,
    set_principal,
)
from gateway.limits.names import LIMIT_NAMES
from gateway.middleware import TRUSTED_PROXIES, Handler
from gateway.store.rate_windows import SlidingWindows, Window
from gateway.trusted_proxies import TrustedProxies
from middlewares.rate_limit import duration, rate_limit
from tests.unit.middlewares.support import App, running

LIMIT = "x-ratelimit-limit-requests"
REMAINING = "x-ratelimit-remaining-requests"
RESET = "x-ratelimit-reset-requests"


class WindowClock:
    """Monotonic seconds that the test sets, and rate windows that use them."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.windows = SlidingWindows(lambda: self.now)


async def named(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Stands in for api_key: the header `who` is the key's name."""
    if name := request.headers.get("who"):
        request[KEY_NAME] = name
    return await handler(request)


async def statuses(app: App, count: int, who: str = "") -> list[int]:
    calls = [app.call({"who": who} if who else None) for _ in range(count)]
    return [reply.status for reply in await asyncio.gather(*calls)]


@pytest.mark.parametrize("limit", [1, 7, 30])
async def test_parallel_requests_admit_exactly_the_limit(limit: int) -> None:
    answered = 0

    async def handler(_: web.Request) -> web.StreamResponse:
        nonlocal answered
        await asyncio.sleep(0.02)
        answered += 1
        return web.Response()

    async with running(rate_limit(requests_per_minute=limit), handler=handler) as app:
        found = await statuses(app, 60)
    assert found.count(200) == answered == limit
    assert found.count(429) == 60 - limit


async def test_each_key_has_a_limit_of_its_own_and_so_has_each_address() -> None:
    async with running(named, rate_limit(requests_per_minute=2)) as app:
        for who in ("alice", "bob", ""):
            assert sorted(await statuses(app, 3, who)) == [200, 200, 429]


async def test_a_key_cannot_pass_for_an_address() -> None:
    async with running(named, rate_limit(requests_per_minute=1)) as app:
        assert await statuses(app, 1) == [200]
        assert await statuses(app, 1, "127.0.0.1") == [200]
        assert await statuses(app, 1, "None") == [200]


async def test_callers_are_counted_by_the_id_of_the_principal() -> None:
    """Two people of one name have a limit each; a new name does not reset the counts."""

    async def directory(request: web.Request, handler: Handler) -> web.StreamResponse:
        set_principal(request, Principal(id=request.headers["id"], name=request.headers["name"]))
        return await handler(request)

    async with running(directory, rate_limit(requests_per_minute=1)) as app:
        found = [
            (await app.call({"id": id_, "name": name})).status
            for id_, name in [("1", "alice"), ("2", "alice"), ("1", "renamed")]
        ]
    assert found == [200, 200, 429]


async def test_counts_survive_an_update_of_the_gateway() -> None:
    """The caller's text is in the counts that outlive a reload."""
    clock = WindowClock()
    window = Window(1, 60.0, 10_000)
    await clock.windows.admit("rate_limit", "key alice", window)
    await clock.windows.admit("rate_limit", "address 127.0.0.1", window)
    async with running(named, rate_limit(requests_per_minute=1), windows=clock.windows) as app:
        assert await statuses(app, 1, "alice") == [429]
        assert await statuses(app, 1) == [429]


async def test_the_window_slides() -> None:
    limiter = rate_limit(requests_per_minute=2)
    clock = WindowClock()
    async with running(limiter, windows=clock.windows) as app:
        found = []
        for at in (0, 30, 59.9, 60, 60.1, 89.9, 90, 119.9, 120):
            clock.now = 1000.0 + at
            found += await statuses(app, 1)
    assert found == [200, 200, 429, 200, 429, 429, 200, 429, 200]


async def test_refused_requests_do_not_count() -> None:
    limiter = rate_limit(requests_per_minute=1)
    clock = WindowClock()
    async with running(limiter, windows=clock.windows) as app:
        assert await statuses(app, 1) == [200]
        clock.now += 59
        assert set(await statuses(app, 20)) == {429}
        clock.now += 1
        assert await statuses(app, 1) == [200]


async def test_requests_that_fail_later_do_count() -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        raise ValueError

    async with running(rate_limit(requests_per_minute=1), handler=handler) as app:
        assert await statuses(app, 1) == [500]
        assert await statuses(app, 1) == [429]


async def test_headers_have_limit_remainder_and_reset() -> None:
    limiter = rate_limit(requests_per_minute=2)
    clock = WindowClock()
    async with running(limiter, windows=clock.windows) as app:
        header_values = []
        for at in (0, 10, 10.5, 59.9, 60):
            clock.now = 1000.0 + at
            headers = (await app.call()).headers
            header_values.append((headers[LIMIT], headers[REMAINING], headers[RESET]))
    assert header_values == [
        ("2", "1", "1m0s"),
        ("2", "0", "1m0s"),
        ("2", "0", "59.5s"),
        ("2", "0", "10.1s"),
        ("2", "0", "1m0s"),
    ]


async def test_a_refusal_says_when_to_try_again() -> None:
    limiter = rate_limit(requests_per_minute=1)
    clock = WindowClock()
    async with running(limiter, windows=clock.windows) as app:
        await app.call()
        clock.now += 19.5
        reply = await app.call()
    assert reply.status == 429
    assert reply.headers["Retry-After"] == "41"
    assert reply.headers["retry-after-ms"] == "40500"
    assert reply.headers["x-should-retry"] == "true"
    error = json.loads(reply.text)["error"]
    assert "1 requests per minute" in error.pop("message")
    assert error == {"type": "requests", "param": None, "code": "rate_limit_exceeded"}


async def test_headers_are_on_errors_and_streams_too() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        return response

    async with running(rate_limit(requests_per_minute=9), handler=handler) as app:
        assert (await app.call()).headers[REMAINING] == "8"
        assert (await app.call(path="/nowhere")).headers[REMAINING] == "7"


async def test_a_flood_of_callers_does_not_fill_the_memory() -> None:
    limiter = rate_limit(requests_per_minute=1, max_callers=5)
    windows = SlidingWindows()
    async with running(named, limiter, windows=windows) as app:
        assert await statuses(app, 1, "first") == [200]
        for number in range(20):
            assert await statuses(app, 1, "regular") == [200 if number == 0 else 429]
            assert await statuses(app, 1, f"caller {number}") == [200]
        assert windows.remembered("rate_limit") == 5


async def test_a_caller_costs_no_more_memory_than_its_limit() -> None:
    windows = SlidingWindows()
    async with running(rate_limit(requests_per_minute=3), windows=windows) as app:
        await statuses(app, 30)
    ((admitted,),) = (callers.values() for callers in windows._callers.values())
    assert len(admitted) == 3


class FakeRequest(dict[Any, Any]):
    """Enough of a request for the limiter."""

    remote = "192.0.2.1"
    headers = CIMultiDict[str]()
    app: Any


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 4),
    st.floats(0, 1e6),
    st.lists(st.floats(0, 61) | st.sampled_from([0.0, 59.999, 60.0, 60 - 1e-9]), max_size=20),
    st.lists(st.sampled_from([-1, 0, 1]), min_size=20, max_size=20),
)
def test_no_sixty_seconds_ever_hold_more_than_the_limit(
    limit: int, start: float, waits: list[float], roundings: list[int]
) -> None:
    """Also where the clock's last bit decides."""
    limiter = rate_limit(requests_per_minute=limit)
    admitted: list[float] = []
    now = start
    windows = SlidingWindows(lambda: now)

    async def handler(_: Any) -> web.StreamResponse:
        admitted.append(now)
        return web.Response()

    async def call() -> None:
        request: Any = FakeRequest({RESPONSE_HEADERS: {}})
        request.app = {WINDOWS: windows, TRUSTED_PROXIES: TrustedProxies([])}
        with contextlib.suppress(RateLimited):
            await limiter(request, handler)
        assert 0 <= int(request[RESPONSE_HEADERS][REMAINING]) < limit

    for wait, rounding in zip(waits, roundings, strict=False):
        now += wait
        if rounding:
            now = max(math.nextafter(now, math.inf * rounding), admitted[-1] if admitted else start)
        asyncio.run(call())
    for first, last in zip(admitted, admitted[limit:], strict=False):
        assert last - first >= 60 - 1e-6


@pytest.mark.parametrize("first", [43.963214000819484, 1009.1060437434795, 65506.6961010373])
async def test_the_rounding_of_the_clock_never_makes_the_remainder_negative(first: float) -> None:
    """At these times a minute is over, and not yet over, depending on how one adds."""
    limiter = rate_limit(requests_per_minute=1)
    clock = WindowClock()
    async with running(limiter, windows=clock.windows) as app:
        for clock.now in (first, first + 60):
            assert (await app.call()).headers[REMAINING] == "0"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0ms"),
        (0, "0ms"),
        (0.0001, "1ms"),
        (0.12, "120ms"),
        (1, "1s"),
        (1.5, "1.5s"),
        (1.51, "1.6s"),
        (59.95, "1m0s"),
        (60, "1m0s"),
        (61.5, "1m1.5s"),
        (360, "6m0s"),
        (0.9999, "1s"),
    ],
)
def test_a_duration_is_written_as_in_openais_headers(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_wait_is_never_longer_than_its_window_whatever_the_clock_says() -> None:
    """Just below a power of two, the sum of time and window is rounded up or down."""
    clock = WindowClock()
    for milliseconds in range(4_036_000, 4_036_100):
        clock.now = milliseconds / 1000
        admission = clock.windows.admit_now(str(milliseconds), "alice", Window(10, 60.0, 5))
        assert (admission.first, admission.last) == (60.0, 60.0)


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
