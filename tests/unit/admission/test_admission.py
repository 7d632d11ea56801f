"""Exactly the limit is admitted, in any sixty seconds, and the headers say so."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC

import pytest
from aiohttp import web

from gateway import KEY_NAME, Principal, set_principal
from gateway.admission.admission import InferenceRoute
from gateway.config.settings import TeamSettings
from gateway.middleware import Handler, Middleware
from middlewares.rate_limit import rate_limit
from tests.unit.admission.support import Admitting, statuses
from tests.unit.limits.support import key

LIMIT = "x-ratelimit-limit-requests"
REMAINING = "x-ratelimit-remaining-requests"
RESET = "x-ratelimit-reset-requests"


async def named(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Stands in for api_key: the header `who` is the key's name."""
    if name := request.headers.get("who"):
        request[KEY_NAME] = name
    return await handler(request)


def principal(team: str | None = None, /, **limits: int) -> Principal:
    return Principal(id="alice", name="alice", team=team, limits=limits)


def sent_by(principal: Principal) -> Middleware:
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        set_principal(request, principal)
        return await handler(request)

    return middleware


@pytest.mark.parametrize("limit", [1, 7, 30])
async def test_parallel_requests_admit_exactly_the_limit(limit: int) -> None:
    gateway = Admitting()
    gateway.meanwhile = lambda: asyncio.sleep(0.02)
    async with gateway.running(rate_limit(requests_per_minute=limit)) as app:
        found = await statuses(app, 60)
    assert found.count(200) == gateway.answered == limit
    assert found.count(429) == 60 - limit


async def test_each_key_has_a_limit_of_its_own_and_so_has_each_address() -> None:
    async with Admitting().running(named, rate_limit(requests_per_minute=2)) as app:
        for who in ("alice", "bob", ""):
            assert sorted(await statuses(app, 3, who)) == [200, 200, 429]


async def test_a_key_cannot_pass_for_an_address() -> None:
    async with Admitting().running(named, rate_limit(requests_per_minute=1)) as app:
        assert await statuses(app, 1) == [200]
        assert await statuses(app, 1, "127.0.0.1") == [200]
        assert await statuses(app, 1, "None") == [200]
        assert await statuses(app, 1, "address 127.0.0.1") == [200]


async def test_callers_are_counted_by_the_id_of_the_principal() -> None:
    """Two people of one name have a limit each; a new name does not reset the counts."""

    async def directory(request: web.Request, handler: Handler) -> web.StreamResponse:
        set_principal(request, Principal(id=request.headers["id"], name=request.headers["name"]))
        return await handler(request)

    async with Admitting().running(directory, rate_limit(requests_per_minute=1)) as app:
        found = [
            (await app.call({"id": id_, "name": name}, path="/chat")).status
            for id_, name in [("1", "alice"), ("2", "alice"), ("1", "renamed")]
        ]
    assert found == [200, 200, 429]


async def test_limits_hold_without_rate_limit_in_the_chain() -> None:
    """Of the key, of its team, and of the gateway; each message says whose limit it was."""
    team = TeamSettings(name="web", chats_per_minute=2)
    for gateway, who, whose in (
        (Admitting(), principal(chats_per_minute=2), "key alice"),
        (Admitting(teams=(team,)), principal("web"), "team web"),
        (Admitting(chats_per_minute=2), principal(), "the gateway"),
    ):
        async with gateway.running(sent_by(who)) as app:
            assert sorted(await statuses(app, 5)) == [200, 200, 429, 429, 429]
            message = json.loads((await app.call(path="/chat")).text)["error"]["message"]
        assert f"reached for {whose}: 2 chats per minute" in message


async def test_a_key_with_a_limit_of_its_own_keeps_it_and_has_the_other_defaults() -> None:
    chain = (sent_by(principal(chats_per_minute=3)), rate_limit(requests_per_minute=1))
    gateway = Admitting()
    async with gateway.running(*chain) as app:
        assert sorted(await statuses(app, 4)) == [200, 200, 200, 429]
    standings = gateway.clocked.meter.standings(
        [key(chats_per_minute=3, completions_per_minute=300)]
    )
    assert [standing.used for standing in standings] == [3, 0]


async def test_chats_completions_and_listings_have_a_limit_each() -> None:
    chain = rate_limit(requests_per_minute=1, completions_per_minute=2, listings_per_minute=3)
    async with Admitting().running(chain) as app:
        found = {
            path: sorted(await statuses(app, 4, path=path)) for path in ("/chat", "/fill", "/list")
        }
    assert found == {
        "/chat": [200, 429, 429, 429],
        "/fill": [200, 200, 429, 429],
        "/list": [200, 200, 200, 429],
    }


async def test_the_window_slides() -> None:
    gateway = Admitting()
    async with gateway.running(rate_limit(requests_per_minute=2)) as app:
        found = []
        for at in (0, 30, 59.9, 60, 60.1, 89.9, 90, 119.9, 120):
            gateway.clocked.monotonic = 1000.0 + at
            found += await statuses(app, 1)
    assert found == [200, 200, 429, 200, 429, 429, 200, 429, 200]


async def test_refused_requests_do_not_count() -> None:
    gateway = Admitting()
    async with gateway.running(rate_limit(requests_per_minute=1)) as app:
        assert await statuses(app, 1) == [200]
        gateway.clocked.after(59)
        assert set(await statuses(app, 20)) == {429}
        gateway.clocked.after(1)
        assert await statuses(app, 1) == [200]


async def test_requests_that_fail_later_do_count() -> None:
    async def fail() -> None:
        raise ValueError

    gateway = Admitting()
    gateway.meanwhile = fail
    async with gateway.running(rate_limit(requests_per_minute=1)) as app:
        assert await statuses(app, 1) == [500]
        assert await statuses(app, 1) == [429]
    assert gateway.clocked.meter.open == 0


async def test_headers_have_limit_remainder_and_reset() -> None:
    gateway = Admitting()
    async with gateway.running(rate_limit(requests_per_minute=2)) as app:
        found = []
        for at in (0, 10, 10.5, 59.9, 60):
            gateway.clocked.monotonic = 1000.0 + at
            headers = (await app.call(path="/chat")).headers
            found.append((headers[LIMIT], headers[REMAINING], headers[RESET]))
    assert found == [
        ("2", "1", "1m0s"),
        ("2", "0", "1m0s"),
        ("2", "0", "59.5s"),
        ("2", "0", "10.1s"),
        ("2", "0", "1m0s"),
    ]


async def test_a_refusal_says_when_to_try_again() -> None:
    gateway = Admitting()
    async with gateway.running(rate_limit(requests_per_minute=1)) as app:
        await app.call(path="/chat")
        gateway.clocked.after(19.5)
        reply = await app.call(path="/chat")
    assert reply.status == 429
    assert reply.headers["Retry-After"] == "41"
    assert reply.headers["retry-after-ms"] == "40500"
    assert reply.headers["x-should-retry"] == "true"
    error = json.loads(reply.text)["error"]
    assert error.pop("message") == (
        "Rate limit reached for this address: 1 chats per minute. Please try again in 40.5s."
    )
    assert error == {"type": "requests", "param": None, "code": "rate_limit_exceeded"}


async def test_headers_are_on_errors_and_streams_too() -> None:
    async def fail() -> None:
        raise ValueError

    gateway = Admitting()
    async with gateway.running(rate_limit(requests_per_minute=9, listings_per_minute=8)) as app:
        assert (await app.call(path="/list")).headers[REMAINING] == "7"
        gateway.meanwhile = fail
        reply = await app.call(path="/chat")
        assert (reply.status, reply.headers[REMAINING]) == (500, "8")


async def test_a_flood_of_callers_does_not_fill_the_memory() -> None:
    gateway = Admitting()
    gateway.clocked.meter.configure(zone=UTC, max_callers=5)
    limiter = rate_limit(requests_per_minute=1)
    async with gateway.running(by_address, limiter) as app:
        for number in range(20):
            expected = 200 if number == 0 else 429
            assert await statuses(app, 1, "198.51.100.7") == [expected]
            assert await statuses(app, 1, f"203.0.113.{number}") == [200]
        assert gateway.clocked.meter.remembered()[0] == 5


async def by_address(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Make `who` the address of the client."""
    return await handler(request.clone(remote=request.headers["who"]))


SHIPPED = {"completions_per_minute": 300, "listings_per_minute": 120, "concurrency": 8}


async def test_half_an_hour_of_typing_beside_an_agent_with_four_parallel_calls_sees_no_429() -> (
    None
):
    """Under the limits of the shipped config.yaml.

    Who types asks for a completion each 0.4 s, in bursts with pauses to read. The agent has four
    helpers, whose calls take 6 to 12 s each.
    """
    gateway = Admitting()
    caller = (key(chats_per_minute=60, **SHIPPED),)
    helpers = dict.fromkeys(range(4), (0.0, ""))  # when each call ends, and its claim
    completions = chats = 0
    for tick in range(30 * 60 * 5):  # steps of 0.2 s
        now = tick / 5
        if tick % 2 == 0 and now % 60 < 36:
            verdict = gateway.clocked.use(*caller, kind="completion")
            assert verdict.admitted, (now, verdict)
            completions += 1
        for number, (end, claim_id) in helpers.items():
            if now >= end:
                gateway.clocked.meter.settle(claim_id, 900)
                verdict = gateway.clocked.claim(*caller, prompt=400)
                assert verdict.admitted, (now, verdict)
                chats += 1
                helpers[number] = now + 6 + (number * 7 + tick) % 7, gateway.clocked.last_id
        gateway.clocked.after(0.2)
    assert completions == 30 * 90
    assert chats > 600


async def test_a_loop_of_twenty_chats_a_second_is_refused_within_five_seconds() -> None:
    gateway = Admitting()
    async with gateway.running(rate_limit(requests_per_minute=60, **SHIPPED)) as app:
        found = []
        for _ in range(5 * 20):
            found += await statuses(app, 1)
            gateway.clocked.after(1 / 20)
    assert found == [200] * 60 + [429] * 40


async def test_a_route_that_may_be_of_two_classes_is_looked_at_for_both() -> None:
    """Ollama's `generate` is a chat, and with a suffix a completion: only the body says which."""
    gateway = Admitting()
    control = gateway.admission
    control.routes[gateway._fill] = InferenceRoute("chat", "chat", fills=True)
    limits = rate_limit(requests_per_minute=1, completions_per_minute=1)
    async with gateway.running(limits) as app:
        assert await statuses(app, 1, path="/chat") == [200]
        assert await statuses(app, 1, path="/fill") == [200]
        assert await statuses(app, 1, path="/fill") == [429]


async def test_limits_that_a_reload_brings_hold_for_the_requests_from_then_on() -> None:
    gateway = Admitting()
    for limits, expected in (
        ({"requests_per_day": 5}, [200, 200]),
        ({"requests_per_day": 2}, [429, 429]),
        ({"requests_per_day": 3}, [200, 429]),
    ):
        async with gateway.running(sent_by(principal(**limits))) as app:
            assert sorted(await statuses(app, 2)) == expected


@pytest.mark.parametrize(
    ("routes", "allowed"), [((), ()), (("chat",), ("/chat",)), (("fim", "infill"), ("/fill",))]
)
async def test_a_key_is_refused_on_other_routes_than_its_own(
    routes: tuple[str, ...], allowed: tuple[str, ...]
) -> None:
    gateway = Admitting()
    principal = Principal(id="a", name="alice", routes=frozenset(routes))
    async with gateway.running(sent_by(principal)) as app:
        for path in ("/chat", "/fill", "/list"):
            reply = await app.call(path=path)
            fits = path in (*allowed, "/list")
            assert reply.status == (200 if fits else 403), path
            assert fits or json.loads(reply.text)["error"]["code"] == "route_not_allowed"


async def test_a_list_of_models_restricts_chats_and_no_code_at_the_cursor() -> None:
    principal = Principal(id="a", name="alice", models=frozenset({"deepseek-v3"}))
    async with Admitting().running(sent_by(principal)) as app:
        reply = await app.call(path="/chat")
        assert reply.status == 403
        assert json.loads(reply.text)["error"]["code"] == "model_not_allowed"
        assert (await app.call(path="/fill")).status == 200
