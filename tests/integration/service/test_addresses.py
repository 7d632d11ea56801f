"""The address of a client behind a proxy: in the log, in limits, and for wrong keys."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from middlewares.api_key import _WrongKeys
from tests.conftest import StartGateway
from tests.support import KEY, Gateway
from tests.waiting import eventually

TRUSTING = {"trusted_proxies": ["127.0.0.1"]}
KEYS = {"api_key": {"keys": [{"name": "one", "key": KEY}]}}


async def ask(gateway: Gateway, key: str = "", client: str = "198.51.100.7") -> tuple[int, str]:
    """Ask for the models through a proxy; return the status and `x-should-retry`."""
    headers = {"X-Forwarded-For": client, "Authorization": f"Bearer {key}"}
    async with gateway.http.get(f"{gateway.url}/v1/models", headers=headers) as response:
        return response.status, response.headers.get("x-should-retry", "")


async def test_limits_without_a_key_count_the_client_and_not_the_proxy(
    start_gateway: StartGateway,
) -> None:
    limit = {"rate_limit": {"requests_per_minute": 60, "listings_per_minute": 1}}
    gateway = await start_gateway(server=TRUSTING, middlewares=[limit])
    clients = ["198.51.100.7", "198.51.100.8", "203.0.113.9, 198.51.100.7"]
    assert [(await ask(gateway, client=client))[0] for client in clients] == [200, 200, 429]


async def test_a_client_cannot_choose_its_address_without_a_trusted_proxy(
    start_gateway: StartGateway,
) -> None:
    limit = {"rate_limit": {"requests_per_minute": 60, "listings_per_minute": 1}}
    gateway = await start_gateway(middlewares=[limit])
    clients = ["198.51.100.7", "198.51.100.8"]
    assert [(await ask(gateway, client=client))[0] for client in clients] == [200, 429]


async def test_the_log_has_the_address_behind_the_proxy(
    start_gateway: StartGateway, log_events: list[Any]
) -> None:
    gateway = await start_gateway(server=TRUSTING, middlewares=["request_log", KEYS])
    await ask(gateway, key=KEY)
    await ask(gateway, key="wrong")
    lines = await eventually(
        lambda: (
            found if len(found := [e for e in log_events if e["event"] == "request"]) == 2 else None
        )
    )
    assert [line["address"] for line in lines] == ["198.51.100.7"] * 2


async def test_guessing_keys_is_refused_by_address_and_a_right_key_is_not(
    start_gateway: StartGateway, log_events: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_WrongKeys, "_MINUTE", 0.2)
    gateway = await start_gateway(server=TRUSTING, middlewares=[KEYS])
    found = Counter([await ask(gateway, key=f"wrong {number}") for number in range(30)])
    assert found == {(401, "false"): 10, (429, "false"): 20}
    assert (await ask(gateway, key=KEY))[0] == 200
    assert (await ask(gateway, key="wrong", client="198.51.100.8"))[0] == 401
    (line,) = await eventually(
        lambda: [e for e in log_events if e["event"] == "wrong_keys_refused"]
    )
    assert (line["count"], line["addresses"]) == (20, ["198.51.100.7"])


async def test_all_addresses_of_an_ipv6_network_are_one_guesser(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(server=TRUSTING, middlewares=[KEYS])
    found = [await ask(gateway, "wrong", f"2001:db8:1:2::{number}") for number in range(1, 13)]
    assert [status for status, _ in found] == [401] * 10 + [429] * 2


async def test_a_missing_key_is_no_guess(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(middlewares=[KEYS])
    found = []
    for _ in range(15):
        async with gateway.http.get(
            f"{gateway.url}/v1/models", headers={"Authorization": ""}
        ) as response:
            found.append(response.status)
    assert found == [401] * 15
