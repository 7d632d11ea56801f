"""Limits of a running gateway: whom they hold for, when they are asked, and what clients see."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from emulator import Emulator
from gateway.app import SHARED_STATE
from gateway.http.handler import GenerationHandler
from gateway.limits.claims import Claim, Scope, Standing, Verdict
from gateway.limits.meter import LocalMeter
from gateway.limits.queue import AdmissionQueue
from gateway.server.single_process import SingleProcess
from tests.conftest import StartGateway
from tests.integration.conftest import Connect
from tests.integration.peer import CHAT, UPSTREAM_CHAT, chat_head
from tests.support import KEY, Gateway
from tests.waiting import LONGEST_WAIT, eventually

OTHER = "other-key-9876543210"
PATHS = {
    CHAT: {"messages": [{"role": "user", "content": "[[say]]"}]},
    "/v1/messages": {"messages": [{"role": "user", "content": "[[say]]"}], "max_tokens": 100},
    "/v1/responses": {"input": "[[say]]"},
    "/api/chat": {"messages": [{"role": "user", "content": "[[say]]"}], "stream": False},
    "/api/generate": {"prompt": "[[say]]", "stream": False},
    "/v1/completions": {"prompt": "x = "},
    "/v1/fim/completions": {"prompt": "x = ", "suffix": "\n"},
    "/infill": {"input_prefix": "x = ", "input_suffix": "\n"},
}


def keys(**limits: Any) -> list[Any]:
    """Return the middlewares for a key with these limits, and another one without."""
    alice, bob = {"name": "alice", "key": KEY, **limits}, {"name": "bob", "key": OTHER}
    return ["request_id", "request_log", {"api_key": {"keys": [alice, bob]}}]


def meter_of(gateway: Gateway) -> AdmissionQueue:
    meter = gateway.entrypoint.app[SHARED_STATE].meter
    assert isinstance(meter, AdmissionQueue)
    return meter


def used(gateway: Gateway, **limits: int) -> dict[str, int]:
    """Return what the key has used of these limits."""
    standings: list[Standing] = meter_of(gateway).meter.standings([Scope("key alice", limits)])
    return {standing.limit: standing.used for standing in standings}


async def status(gateway: Gateway, text: str = "[[say]]", **parameters: Any) -> int:
    async with gateway.post_chat(text, **parameters) as response:
        await response.read()
        return int(response.status)


@pytest.mark.parametrize("scope", ["key", "team", "gateway"])
async def test_300_parallel_chats_at_a_limit_admit_exactly_it(
    start_gateway: StartGateway, emulator: Emulator, scope: str
) -> None:
    """No middleware of limits is listed; a team's limit and the gateway's are shared by keys."""
    number = {"chats_per_minute": 40}
    sections: dict[str, Any] = {
        "middlewares": keys(team="web", **number),
        "teams": [{"name": "web"}],
    }
    if scope == "team":
        sections = {"middlewares": keys(team="web"), "teams": [{"name": "web", **number}]}
    elif scope == "gateway":
        sections = {"middlewares": keys(), "limits": number}
    gateway = await start_gateway(fitten={"pool": {"max_concurrent": 100}}, **sections)
    found = await asyncio.gather(*(status(gateway) for _ in range(300)))
    assert Counter(found) == {200: 40, 429: 260}
    assert len(emulator.calls_to(UPSTREAM_CHAT)) == 40
    async with gateway.post_chat("[[say]]", {"Authorization": f"Bearer {OTHER}"}) as response:
        assert response.status == (429 if scope == "gateway" else 200)


async def test_every_route_but_the_probes_is_under_a_limit(start_gateway: StartGateway) -> None:
    """With limits of 0 each route of the router refuses, an inference route by its class."""
    names = ("chats_per_minute", "completions_per_minute", "listings_per_minute")
    gateway = await start_gateway(middlewares=keys(path=True), limits=dict.fromkeys(names, 0))
    router = gateway.entrypoint.app.router
    found: dict[str, set[str]] = {"inference": set(), "listing": set(), "probe": set()}
    for route in router.routes():
        if route.method == "OPTIONS" or route.resource is None:
            continue
        path = route.resource.canonical.replace("{id}", "x").replace("{digest}", "x")
        url = gateway.url + path.replace("/k/", f"/k/{KEY}/")
        async with gateway.http.request(route.method, url, json={}) as response:
            text = await response.text()
        owner = getattr(route.handler, "__self__", None)
        kind = "inference" if isinstance(owner, GenerationHandler) else "listing"
        if response.status != 429:
            kind = "probe"
            assert response.status in (200, 503), (path, text)
        elif route.method == "HEAD":
            assert text == ""
        elif kind == "listing":
            assert "0 listings per minute" in text, (path, text)
        else:
            assert "0 chats per minute" in text or "0 completions per minute" in text, (path, text)
        found[kind].add(path.rstrip("/") or "/")
    assert found["probe"] == {"/health", "/ready", "/", "/k"}
    assert set(PATHS) <= found["inference"]
    assert {"/v1/models", "/v1/usage", "/v1/messages/count_tokens", "/api/tags"} <= found["listing"]


async def test_who_is_over_a_limit_is_refused_before_the_body_is_read(
    start_gateway: StartGateway, connect: Connect
) -> None:
    gateway = await start_gateway(middlewares=keys(chats_per_minute=1))
    assert await status(gateway) == 200
    peer = await connect(gateway.url)
    await peer.send(chat_head({"Content-Length": "900000"}))
    answer = await peer.answer()  # though no byte of the body was sent
    assert (answer.status, answer.error["code"]) == (429, "rate_limit_exceeded")


async def test_a_request_is_one_claim_and_is_settled_once_and_a_large_one_is_looked_at_before(
    start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    for name in ("look", "claim", "settle"):
        original = getattr(LocalMeter, name)

        def counted(self: Any, *args: Any, name: str = name, original: Any = original) -> Any:
            asked.append(name)
            return original(self, *args)

        monkeypatch.setattr(LocalMeter, name, counted)
    gateway = await start_gateway(middlewares=keys(chats_per_minute=9), tools={"repair": True})
    tool = {"type": "function", "function": {"name": "ls"}}
    for body in ({}, {"stream": True}, {"tools": [tool], "tool_choice": "required"}):
        asked.clear()
        await status(gateway, **body)
        assert asked == ["claim", "settle"]  # its body was there at once
    asked.clear()
    await status(gateway, user="x" * 300_000)
    assert asked == ["look", "claim", "settle"]
    asked.clear()
    async with gateway.http.get(f"{gateway.url}/v1/models") as response:
        assert (response.status, asked) == (200, ["claim"])


@pytest.mark.parametrize("path", PATHS)
async def test_headers_agree_with_the_decision_in_each_dialect(
    start_gateway: StartGateway, path: str
) -> None:
    limits = {"chats_per_minute": 2, "completions_per_minute": 2, "tokens_per_day": 100_000}
    gateway = await start_gateway(middlewares=keys(**limits))
    for left in (1, 0, 0):
        async with gateway.http.post(gateway.url + path, json=PATHS[path]) as response:
            await response.read()
        headers = response.headers
        assert headers["x-ratelimit-limit-requests"] == "2"
        assert headers["x-ratelimit-remaining-requests"] == str(left)
        assert headers["x-ratelimit-limit-tokens"] == "100000"
        assert 98_000 < int(headers["x-ratelimit-remaining-tokens"]) < 100_000
        budget = headers["x-fitten-budget-remaining-tokens"]
        assert budget == headers["x-ratelimit-remaining-tokens"]
        if path == "/v1/messages":
            for what in ("requests", "tokens"):
                for part in ("limit", "remaining"):
                    ours = headers[f"x-ratelimit-{part}-{what}"]
                    assert headers[f"anthropic-ratelimit-{what}-{part}"] == ours
                assert headers[f"anthropic-ratelimit-{what}-reset"].endswith("Z")
    assert response.status == 429
    assert 1 <= int(headers["Retry-After"]) <= 60
    kind = "completions" if "completion" in path.replace(CHAT, "") or "infill" in path else "chats"
    assert f"reached for key alice: 2 {kind} per minute. Please try again in " in (
        await response.text()
    )


@pytest.mark.parametrize("path", PATHS)
async def test_a_budget_that_is_used_up_has_no_retry_after(
    start_gateway: StartGateway, path: str
) -> None:
    gateway = await start_gateway(middlewares=keys(requests_per_day=1))
    for expected in (200, 429):
        async with gateway.http.post(gateway.url + path, json=PATHS[path]) as response:
            text = await response.text()
            assert response.status == expected, text
    assert "Retry-After" not in response.headers
    assert "retry-after-ms" not in response.headers
    assert response.headers["x-should-retry"] == "false"
    assert "The budget of key alice is used up: 1 of 1 requests per day. Try again at 20" in text
    if "messages" not in path and "/api/" not in path:
        assert json.loads(text)["error"]["code"] == "insufficient_quota"


async def test_a_debt_is_allowed_no_stream_is_cut_and_the_next_request_is_refused(
    start_gateway: StartGateway,
) -> None:
    """The answer is ten times as long as the reservation; what is left is 0 and not negative."""
    limits = {"tokens_per_day": 60}
    gateway = await start_gateway(middlewares=keys(**limits))
    async with gateway.post_chat("[[slow first=0 gap=0 n=600]]", stream=True) as response:
        assert response.headers["x-ratelimit-remaining-tokens"] == "0"
        raw = await response.read()
    assert b"w599 " in raw
    assert raw.endswith(b"data: [DONE]\n\n")
    assert used(gateway, **limits)["tokens_per_day"] > 200
    async with gateway.post_chat("[[say]]") as response:
        assert response.status == 429
        assert response.headers["x-ratelimit-remaining-tokens"] == "0"
        assert response.headers["x-fitten-budget-remaining-tokens"] == "0"
        assert (await response.json())["error"]["code"] == "insufficient_quota"


async def test_the_operator_hears_once_that_a_budget_is_nearly_used(
    start_gateway: StartGateway, log_events: list[Any]
) -> None:
    gateway = await start_gateway(middlewares=keys(requests_per_day=5, chats_per_minute=100))
    for expected in [200] * 5 + [429] * 5:
        async with gateway.post_chat("[[say]]") as response:
            assert response.status == expected
            assert "x-fitten-budget-remaining-tokens" not in response.headers
    said = [event for event in log_events if event["event"] == "budget_reached"]
    names = ("scope", "limit", "percent", "used", "maximum")
    assert [tuple(event[name] for name in names) for event in said] == [
        ("key alice", "requests_per_day", 80, 4, 5),
        ("key alice", "requests_per_day", 100, 5, 5),
    ]


async def test_a_limit_below_one_prompt_refuses_once_and_for_all(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(middlewares=keys(tokens_per_minute=5))
    async with gateway.post_chat("[[say]]") as response:
        message = (await response.json())["error"]["message"]
    assert response.status == 429
    assert re.fullmatch(
        r"The request needs about \d+ tokens, and the limit of key alice is 5 tokens per minute. "
        r"Make it shorter.",
        message,
    )
    assert response.headers["x-should-retry"] == "false"
    assert not {"Retry-After", "retry-after-ms"} & {*response.headers}


async def test_parallel_calls_of_an_agent_wait_in_line_and_none_is_refused(
    start_gateway: StartGateway, emulator: Emulator, log_events: list[Any]
) -> None:
    """The log says how long each has waited."""
    gateway = await start_gateway(middlewares=keys(concurrency=1))
    text = "[[slow first=3600 gap=0 n=2]]"
    tasks = [asyncio.ensure_future(status(gateway, text)) for _ in range(5)]
    await eventually(lambda: meter_of(gateway).waiting == 4)
    while not all(task.done() for task in tasks):
        emulator.release()
        await asyncio.sleep(0.005)
    assert [task.result() for task in tasks] == [200] * 5
    lines = await eventually(lambda: logged(log_events, 5))
    assert [line["queued_ms"] > 0 for line in lines] == [False, True, True, True, True]
    calls = emulator.calls_to(UPSTREAM_CHAT)
    assert len(calls) == 5
    assert used(gateway, concurrency=1) == {"concurrency": 0}


async def test_without_a_line_concurrency_refuses_at_once(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(middlewares=keys(concurrency=1), limits={"queue_wait": 0})
    async with gateway.post_chat("[[endless]]", stream=True) as first:
        await first.content.readuntil(b"w0 ")
        async with gateway.post_chat("[[say]]") as response:
            error = (await response.json())["error"]
            assert (response.status, error["code"]) == (429, "concurrency_limit_exceeded")
            assert "The limit of key alice is 1 requests at once." in error["message"]
            assert (response.headers["Retry-After"], response.headers["x-should-retry"]) == (
                "1",
                "true",
            )
        first.close()
    await eventually(lambda: used(gateway, concurrency=1) == {"concurrency": 0})
    assert await status(gateway) == 200


async def test_conversations_and_side_calls_are_known_in_the_line(
    start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims: list[Claim] = []
    original = LocalMeter.claim

    def seen(self: LocalMeter, claim: Claim) -> Verdict:
        claims.append(claim)
        return original(self, claim)

    monkeypatch.setattr(LocalMeter, "claim", seen)
    gateway = await start_gateway(middlewares=keys(concurrency=4))
    tool = {"type": "function", "function": {"name": "ls"}}
    for header in ("x-claude-code-session-id", "thread-id", "session-id", "x-opencode-session"):
        async with gateway.post_chat("[[say]]", {header: f"of {header}"}) as response:
            assert response.status == 200
        assert (claims[-1].conversation, claims[-1].side_call) == (f"of {header}", False)
    for body, side_call in (
        ({"max_tokens": 20}, True),
        ({"response_format": {"type": "json_object"}}, True),
        ({"max_tokens": 20, "tools": [tool]}, False),
        ({"max_tokens": 4000}, False),
    ):
        await status(gateway, **body)
        assert (claims[-1].conversation, claims[-1].side_call) == ("", side_call), body


@pytest.mark.parametrize("phase", ["in line", "in the queue", "before", "mid-stream"])
async def test_a_client_that_leaves_keeps_nothing_reserved(
    start_gateway: StartGateway, log_events: list[Any], phase: str
) -> None:
    limits = {"concurrency": 1 if phase == "in line" else 4, "tokens_per_day": 1_000_000}
    gateway = await start_gateway(
        middlewares=keys(**limits), fitten={"pool": {"max_concurrent": 1, "queue_wait": 60}}
    )
    meter = meter_of(gateway)
    ahead = None
    if phase in ("in line", "in the queue"):
        ahead = await gateway.post_chat("[[endless]]", stream=True)
        await ahead.content.readuntil(b"w0 ")
    open_before = used(gateway, **limits)["concurrency"]
    text = "[[slow first=60]]" if phase == "before" else "[[endless]]"
    leaving = asyncio.ensure_future(left_early(gateway, text))
    if phase == "in line":
        await eventually(lambda: meter.waiting == 1)
    else:
        await eventually(lambda: used(gateway, **limits)["concurrency"] == open_before + 1)
    if phase == "mid-stream":
        await leaving
    else:
        await asyncio.sleep(0.02)
        leaving.cancel()
    await eventually(lambda: meter.waiting == 0 and meter.meter.open == open_before)
    if ahead is not None:
        ahead.close()
        await eventually(lambda: meter.meter.open == 0)
    lines = await eventually(lambda: logged(log_events, 1 if ahead is None else 2))
    counts = ("prompt_tokens", "completion_tokens")
    charged = sum(line.get(name) or 0 for line in lines for name in counts)
    assert used(gateway, **limits) == {"concurrency": 0, "tokens_per_day": charged}


async def left_early(gateway: Gateway, text: str) -> None:
    async with gateway.post_chat(text, stream=True) as response:
        await response.content.readuntil(b"w3 ")
        response.close()


def logged(events: list[Any], count: int) -> list[Any]:
    found = [event for event in events if event["event"] == "request"]
    return found if len(found) == count else []


async def test_usage_shows_limits_of_key_team_and_gateway(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(
        server={"time_zone": "Asia/Shanghai"},
        middlewares=keys(team="web", chats_per_minute=5, tokens_per_month=9000),
        teams=[{"name": "web", "requests_per_day": 100}],
        limits={"concurrency": 50},
    )
    assert await status(gateway) == 200
    async with gateway.http.get(f"{gateway.url}/v1/usage") as response:
        body = await response.json()
    assert response.status == 200
    assert (body["key"], body["team"], body["time_zone"]) == ("alice", "web", "Asia/Shanghai")
    assert body["days"] is None, "there is no ledger here"
    shown = {(one["scope"], one["limit"]): one for one in body["limits"]}
    assert set(shown) == {
        ("key alice", "chats_per_minute"),
        ("key alice", "tokens_per_month"),
        ("team web", "requests_per_day"),
        ("gateway", "concurrency"),
    }
    chats = shown["key alice", "chats_per_minute"]
    assert (chats["maximum"], chats["used"], chats["left"]) == (5, 1, 4)
    assert 0 < chats["resets_in"] <= 60
    day = shown["team web", "requests_per_day"]
    assert (day["used"], day["left"]) == (1, 99)
    assert day["resets_at"].endswith("00:00:00+08:00") or day["resets_at"].endswith("59:59+08:00")
    tokens = shown["key alice", "tokens_per_month"]
    assert tokens["used"] + tokens["left"] == 9000
    assert tokens["used"] > 0
    async with gateway.http.get(
        f"{gateway.url}/v1/usage", headers={"Authorization": f"Bearer {OTHER}"}
    ) as response:
        body = await response.json()
    assert (body["key"], body["team"]) == ("bob", None)
    assert {one["scope"] for one in body["limits"]} == {"gateway"}


# At any time, it is another day than in UTC in one of these zones.
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Kathmandu"])
async def test_usage_has_days_and_models_and_a_restart_goes_on_counting(
    start_gateway: StartGateway, zone: str
) -> None:
    limits = {"requests_per_day": 2}
    gateway = await start_gateway(
        middlewares=keys(**limits),
        store={"url": "sqlite:///l.db"},
        server={"time_zone": zone},
    )

    async def run(*expected: int) -> dict[str, Any]:
        service = SingleProcess(gateway.config)
        url = await service.start()
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as http:
            for status in expected:
                async with http.post(url + CHAT, json=PATHS[CHAT]) as response:
                    assert response.status == status
            async with asyncio.timeout(LONGEST_WAIT):
                while True:
                    async with http.get(f"{url}/v1/usage") as response:
                        body: dict[str, Any] = await response.json()
                    if body["days"] and body["days"][0]["requests"] == 2:
                        break
                    await asyncio.sleep(0.05)
        await service.stop()
        return body

    body = await run(200, 200)
    (day,) = body["days"]
    assert (day["model"], day["requests"], day["failed"]) == ("fitten-code", 2, 0)
    assert day["prompt_tokens"] > 0
    body = await run(429)
    assert (body["limits"][0]["used"], body["limits"][0]["left"]) == (2, 0)


async def test_who_waits_in_line_at_a_shutdown_is_told(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(
        middlewares=keys(concurrency=1),
        server={"drain_timeout": 0.1},
        limits={"queue_wait": 600},
        store={"url": "none"},
    )
    service = SingleProcess(gateway.config)
    url = await service.start() + CHAT
    meter = service.entrypoint.app[SHARED_STATE].meter
    assert isinstance(meter, AdmissionQueue)
    endless = {"messages": [{"role": "user", "content": "[[endless]]"}], "stream": True}
    async with gateway.http.post(url, json=endless) as ahead:
        await ahead.content.readuntil(b"w0 ")

        async def wait() -> tuple[int, str]:
            async with gateway.http.post(url, json=PATHS[CHAT]) as response:
                return response.status, await response.text()

        waiting = asyncio.ensure_future(wait())
        await eventually(lambda: meter.waiting == 1)
        await service.stop()
        status, text = await waiting
    assert (status, json.loads(text)["error"]["code"]) == (503, "draining")
    assert (meter.waiting, meter.meter.open) == (0, 0)


async def test_a_bug_of_a_handler_leaves_nothing_open(
    start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> web.StreamResponse:
        raise RuntimeError

    monkeypatch.setattr(GenerationHandler, "_answer_whole", broken)
    gateway = await start_gateway(middlewares=keys(concurrency=1))
    assert [await status(gateway) for _ in range(3)] == [500] * 3
    assert meter_of(gateway).meter.open == 0
