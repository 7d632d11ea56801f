"""GET /health and /ready, for supervisors that have no key."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from emulator import Emulator
from tests.conftest import StartGateway
from tests.integration.peer import LOGIN
from tests.support import Gateway, is_ready
from tests.waiting import NEVER, eventually


async def probe(gateway: Gateway, path: str) -> tuple[int, Any]:
    """Status and body, asked for without a key."""
    async with aiohttp.ClientSession() as http, http.get(gateway.url + path) as response:
        return response.status, await response.json()


async def test_a_running_gateway_is_alive_and_soon_ready(gateway: Gateway) -> None:
    assert await probe(gateway, "/health") == (200, {"status": "ok"})
    await is_ready(gateway)
    assert await probe(gateway, "/ready") == (200, {"status": "ready"})


async def test_a_gateway_is_not_ready_before_the_login_worked(
    start_gateway: StartGateway, emulator: Emulator
) -> None:
    emulator.account("demo_user").scenarios.add("login_slow")
    emulator.change_slow(NEVER)
    gateway = await start_gateway()
    status, body = await probe(gateway, "/ready")
    assert status == 503
    assert body["status"] == "not ready"
    assert body["reason"]
    assert (await probe(gateway, "/health"))[0] == 200
    await eventually(lambda: emulator.calls_to(LOGIN))
    emulator.release()
    await is_ready(gateway)


@pytest.mark.parametrize("scenario", ["wrong_password_200", "wrong_password_401", "login_500"])
async def test_a_gateway_that_cannot_log_in_is_alive_but_not_ready(
    start_gateway: StartGateway, emulator: Emulator, scenario: str
) -> None:
    emulator.account("demo_user").scenarios.add(scenario)
    gateway = await start_gateway()
    await gateway.whole("Hi")
    status, body = await probe(gateway, "/ready")
    assert status == 503
    assert "made up" not in body["reason"]
    assert "correct horse" not in body["reason"]
    assert (await probe(gateway, "/health"))[0] == 200


async def test_without_an_upstream_the_gateway_is_not_ready(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(fitten={"base_url": "http://127.0.0.1:1"})
    await gateway.whole("Hi")
    assert (await probe(gateway, "/ready"))[0] == 503


async def test_probes_are_neither_logged_nor_limited(
    start_gateway: StartGateway, log_events: list[Any]
) -> None:
    gateway = await start_gateway(
        limits={"listings_per_minute": 0},
        middlewares=[
            "request_log",
            {"rate_limit": {"requests_per_minute": 1, "listings_per_minute": 0}},
        ],
    )
    for _ in range(5):
        assert (await probe(gateway, "/health"))[0] == 200
    assert not [event for event in log_events if event["event"] == "request"]
