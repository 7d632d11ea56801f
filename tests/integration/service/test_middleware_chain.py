"""The bundled middlewares in their chain."""

from __future__ import annotations

import asyncio
import hashlib
import re
from typing import Any

import aiohttp
import pytest

from emulator import Emulator
from gateway.config.settings import LogSettings
from tests.conftest import StartGateway
from tests.integration.conftest import WrittenLog
from tests.integration.peer import CHAT, UPSTREAM_CHAT
from tests.support import KEY, Gateway

ORIGIN = "https://chat.example.org"
HASHED = "hashed-key-0123456789"
KEYS = [
    {"name": "plain", "key": KEY},
    {"name": "hashed", "key": "sha256:" + hashlib.sha256(HASHED.encode()).hexdigest()},
]
BODY = {"messages": [{"role": "user", "content": "[[say]]"}]}


async def statuses(gateway: Gateway, number: int, **headers: str) -> list[int]:
    async def one() -> int:
        async with gateway.post_chat("[[say]]", headers) as response:
            return int(response.status)

    return await asyncio.gather(*(one() for _ in range(number)))


def requests_in(log_events: list[Any]) -> list[Any]:
    return [event for event in log_events if event["event"] == "request"]


@pytest.mark.parametrize(
    ("middlewares", "expected"),
    [
        (["cors", "api_key"], ORIGIN),
        (["api_key", "cors"], None),
    ],
)
async def test_the_order_is_that_of_the_list(
    start_gateway: StartGateway, middlewares: list[str], expected: str | None
) -> None:
    options: dict[str, Any] = {"cors": {"allow_origins": [ORIGIN]}, "api_key": {"keys": KEYS}}
    gateway = await start_gateway(middlewares=[{name: options[name]} for name in middlewares])
    headers = {"Authorization": "Bearer wrong", "Origin": ORIGIN}
    async with gateway.post_chat("[[say]]", headers) as response:
        assert response.status == 401
        assert response.headers.get("Access-Control-Allow-Origin") == expected


@pytest.mark.parametrize("middlewares", [["rate_limit", "api_key"], ["api_key", "rate_limit"]])
async def test_limits_are_those_of_the_key_wherever_rate_limit_is_listed(
    start_gateway: StartGateway, middlewares: list[str]
) -> None:
    """They are decided after the whole chain, so requests with a wrong key use up no limit."""
    options: dict[str, Any] = {
        "rate_limit": {"requests_per_minute": 2},
        "api_key": {"keys": KEYS},
    }
    gateway = await start_gateway(middlewares=[{name: options[name]} for name in middlewares])
    assert await statuses(gateway, 3, Authorization="Bearer wrong") == [401] * 3
    for key in (KEY, HASHED):
        found = await statuses(gateway, 3, Authorization=f"Bearer {key}")
        assert sorted(found) == [200, 200, 429]


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"Authorization": f"Bearer {KEY}"}, "plain"),
        ({"Authorization": f"bearer   {KEY}"}, "plain"),
        ({"x-api-key": KEY}, "plain"),
        ({"api-key": KEY}, "plain"),
        ({"Authorization": f"Bearer {HASHED}"}, "hashed"),
        ({"X-API-Key": HASHED}, "hashed"),
    ],
)
async def test_every_form_of_a_key_is_accepted_and_the_log_names_it(
    start_gateway: StartGateway, log_events: list[Any], headers: dict[str, str], name: str
) -> None:
    gateway = await start_gateway(middlewares=["request_log", {"api_key": {"keys": KEYS}}])
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(gateway.url + CHAT, json=BODY) as response,
    ):
        assert response.status == 200
    (line,) = requests_in(log_events)
    assert line["key"] == name
    assert KEY not in str(log_events)
    assert HASHED not in str(log_events)


async def test_the_digest_of_a_key_is_not_a_key(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(middlewares=[{"api_key": {"keys": KEYS}}])
    for given in (KEYS[1]["key"], KEYS[1]["key"].removeprefix("sha256:")):
        assert await statuses(gateway, 1, Authorization=f"Bearer {given}") == [401]


async def test_a_preflight_needs_no_key(gateway: Gateway) -> None:
    headers = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type, x-stainless-os",
    }
    async with (
        aiohttp.ClientSession() as http,
        http.options(gateway.url + CHAT, headers=headers) as response,
    ):
        assert response.status in (200, 204)
        assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "POST" in response.headers["Access-Control-Allow-Methods"]
        assert "x-stainless-os" in response.headers["Access-Control-Allow-Headers"]
        assert "Origin" in response.headers["Vary"]
        assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("text", ["[[say]]", "[[status code=500]]"])
async def test_answers_and_errors_are_marked_for_an_allowed_origin(
    gateway: Gateway, text: str, stream: bool
) -> None:
    async with gateway.post_chat(text, {"Origin": ORIGIN}, stream=stream) as response:
        assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "x-request-id" in response.headers["Access-Control-Expose-Headers"]


async def test_a_refused_key_is_marked_for_an_allowed_origin(gateway: Gateway) -> None:
    headers = {"Origin": ORIGIN, "Authorization": "Bearer wrong"}
    async with gateway.post_chat("[[say]]", headers) as response:
        assert response.status == 401
        assert response.headers["Access-Control-Allow-Origin"] == ORIGIN


@pytest.mark.parametrize("origin", ["https://evil.example", "null", ORIGIN + ".evil.example"])
async def test_other_origins_are_not_marked(gateway: Gateway, origin: str) -> None:
    async with gateway.post_chat("[[say]]", {"Origin": origin}) as response:
        assert "Access-Control-Allow-Origin" not in response.headers
        assert response.headers["Vary"] == "Origin"


async def test_parallel_requests_admit_exactly_the_limit(
    start_gateway: StartGateway, emulator: Emulator
) -> None:
    gateway = await start_gateway(
        middlewares=[{"api_key": {"keys": KEYS}}, {"rate_limit": {"requests_per_minute": 7}}]
    )
    assert sorted(await statuses(gateway, 30)) == [200] * 7 + [429] * 23
    assert len(emulator.calls_to(UPSTREAM_CHAT)) == 7
    assert await statuses(gateway, 1, Authorization=f"Bearer {HASHED}") == [200]


@pytest.mark.parametrize("stream", [True, False])
async def test_every_answer_says_what_is_left(start_gateway: StartGateway, stream: bool) -> None:
    gateway = await start_gateway(middlewares=[{"rate_limit": {"requests_per_minute": 3}}])
    for left in ("2", "1", "0"):
        async with gateway.post_chat("[[say]]", stream=stream) as response:
            assert response.headers["x-ratelimit-limit-requests"] == "3"
            assert response.headers["x-ratelimit-remaining-requests"] == left
            assert re.fullmatch(r"(\d+m)?[\d.]+m?s", response.headers["x-ratelimit-reset-requests"])
    async with gateway.post_chat("[[say]]", stream=stream) as response:
        error = (await response.json())["error"]
        assert response.status == 429
        assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded")
        assert response.headers["x-ratelimit-remaining-requests"] == "0"
        assert 1 <= int(response.headers["Retry-After"]) <= 60
        assert 0 < int(response.headers["retry-after-ms"]) <= 60_000


@pytest.mark.parametrize("given", ["abc-1.2_X", "x" * 64])
async def test_a_well_formed_request_id_is_taken_over(
    gateway: Gateway, log_events: list[Any], given: str
) -> None:
    async with gateway.post_chat("[[say]]", {"x-request-id": given}) as response:
        assert response.headers.getall("x-request-id") == [given]


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "ü", "a;b", '"', "${jndi:x}"])
async def test_a_malformed_request_id_is_replaced(gateway: Gateway, given: str) -> None:
    async with gateway.post_chat("[[say]]", {"x-request-id": given}) as response:
        assert re.fullmatch(r"req_[0-9a-f]{32}", response.headers["x-request-id"])


@pytest.mark.parametrize("stream", [True, False])
async def test_one_log_line_has_the_outcome_of_a_request(
    gateway: Gateway, log_events: list[Any], stream: bool
) -> None:
    async with gateway.post_chat("[[tracedata]]", stream=stream, model="S2") as response:
        size = len(await response.read())
    (line,) = requests_in(log_events)
    assert (
        line.items()
        >= {
            "key": "tester",
            "method": "POST",
            "route": "/v1/chat/completions",
            "model": "DeepSeek V3",
            "status": 200,
            "end": "complete",
            "stream": stream,
            "finish_reason": "stop",
            "prompt_tokens": 42,
            "completion_tokens": 5,
            "bytes": size,
        }.items()
    )
    assert 0 < line["first_piece_ms"] <= line["duration_ms"]


@pytest.mark.parametrize(
    ("text", "status", "end"),
    [
        ("[[reset]]", 200, "upstream_truncated"),
        ("[[status code=500]]", 502, "upstream_error"),
        ("x" * 400_000, 400, "context_length_exceeded"),
    ],
)
async def test_the_log_line_of_a_failure_names_its_code(
    gateway: Gateway, log_events: list[Any], text: str, status: int, end: str
) -> None:
    async with gateway.post_chat(text, stream=True) as response:
        await response.read()
    (line,) = requests_in(log_events)
    assert (line["status"], line["end"]) == (status, end)


async def test_no_log_line_holds_a_prompt_a_path_or_a_key(
    gateway: Gateway, written_log: WrittenLog
) -> None:
    read = written_log(LogSettings(level="debug", format="json"))
    headers = {"X-Canary": "canary", "Cookie": "canary", "User-Agent": "canary"}
    for text in ("[[say text=canary]]", "[[reset]] canary", "[[status]] canary"):
        async with gateway.post_chat(text, headers, user="canary", stream=True) as response:
            await response.read()
    async with gateway.http.get(f"{gateway.url}/canary?canary=canary") as response:
        assert response.status == 404
    assert read().count('"event":"request"') == 4
    assert "canary" not in read()
    assert KEY not in read()


async def test_of_a_model_that_does_not_exist_the_log_has_a_name_and_no_text(
    gateway: Gateway, written_log: WrittenLog
) -> None:
    read = written_log(LogSettings(level="debug", format="json"))
    for name in ("qwen-9", "a%20canary", "sk-canary0123456789abcdef", "canary" * 20):
        async with gateway.http.get(f"{gateway.url}/v1/models/{name}") as response:
            assert response.status == 404
    assert read().count("The model '...' does not exist") == 3
    assert read().count("The model 'qwen-9' does not exist") == 1
    assert "canary" not in read()
