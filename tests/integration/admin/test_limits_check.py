"""What would decide a request of a key now, with figures; nothing is counted by asking."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from emulator import Emulator
from tests.integration.admin.gateways import GatewayWithAdmin, gateway_with_admin
from tests.support import KEY

SECTIONS: dict[str, Any] = {
    "limits": {"concurrency": 50},
    "teams": [{"name": "ops", "chats_per_minute": 9}],
    "middlewares": [
        {"api_key": {"keys": [{"name": "tester", "key": KEY, "team": "ops"}]}},
        {"rate_limit": {"requests_per_minute": 7, "concurrency": 4}},
    ],
}


async def check(gateway: GatewayWithAdmin, key: str, more: str = "") -> Any:
    answer = await gateway.admin.call("GET", f"/limits/check?key={key}{more}")
    assert answer.status == 200, answer.body
    return answer.body


def maxima(report: Any) -> dict[tuple[str, str], int]:
    return {(limit["scope"], limit["limit"]): limit["maximum"] for limit in report["limits"]}


@pytest.mark.parametrize("workers", [1, 2])
async def test_every_limit_of_key_team_and_gateway_is_shown_with_what_is_left(
    emulator: Emulator, tmp_path: Path, workers: int
) -> None:
    async with gateway_with_admin(emulator, tmp_path, workers=workers, **SECTIONS) as gateway:
        await gateway.admin.call(
            "POST", "/teams", {"name": "web", "limits": {"tokens_per_day": 1000}}
        )
        made = await gateway.admin.make_key(
            "alice", team="web", limits={"chats_per_minute": 2, "requests_per_day": 10}
        )
        await gateway.admin.call(
            "POST",
            "/grants",
            {
                "scope": "key",
                "scope_id": made["id"],
                "limit": "requests_per_day",
                "amount": 5,
            },
        )
        before = await check(gateway, "alice")
        assert before["refused"] is None
        assert (before["id"], before["team"], before["source"]) == (made["id"], "web", "store")
        assert maxima(before) == {
            ("key alice", "chats_per_minute"): 2,
            ("key alice", "completions_per_minute"): 300,
            ("key alice", "listings_per_minute"): 120,
            ("key alice", "concurrency"): 4,
            ("key alice", "requests_per_day"): 15,
            ("team web", "tokens_per_day"): 1000,
            ("gateway", "concurrency"): 50,
        }
        for _ in range(2):
            async with gateway.chat("[[say]]", key=made["key"]) as response:
                assert response.status == 200
        after = await check(gateway, made["id"])
        assert (after["key"], maxima(after)) == ("alice", maxima(before))
        (used,) = (
            limit
            for limit in after["limits"]
            if (limit["scope"], limit["limit"]) == ("key alice", "requests_per_day")
        )
        assert (used["used"], used["left"]) == (2, 13)
        assert used["resets_in"] > 0
        async with gateway.chat("[[say]]", key=made["key"]) as response:
            assert response.status == 429
            refusal = (await response.json())["error"]["message"]
        refused = after["refused"]
        assert (refused["status"], refused["code"]) == (429, "rate_limit_exceeded")
        assert refused["message"].split(".")[0] == refusal.split(".")[0], "as the client is told"
        assert (await check(gateway, "alice", "&route=fim"))["refused"] is None


async def test_a_key_of_the_configuration_has_its_team_and_the_defaults(
    emulator: Emulator, tmp_path: Path
) -> None:
    async with gateway_with_admin(emulator, tmp_path, **SECTIONS) as gateway:
        report = await check(gateway, "tester")
        assert (report["id"], report["source"], report["team"]) == (None, "config", "ops")
        found = maxima(report)
        assert found["key tester", "chats_per_minute"] == 7
        assert found["team ops", "chats_per_minute"] == 9


async def test_what_refuses_the_key_itself_is_shown_too(emulator: Emulator, tmp_path: Path) -> None:
    async with gateway_with_admin(emulator, tmp_path, **SECTIONS) as gateway:
        await gateway.admin.make_key("alice", routes=["fim"])
        report = await check(gateway, "alice")
        assert report["routes"] == ["fim"]
        assert report["refused"]["code"] == "route_not_allowed"
        assert (await check(gateway, "alice", "&route=fim"))["refused"] is None
        await gateway.admin.call("POST", "/keys/alice/block", {"reason": "left"})
        blocked = await check(gateway, "alice")
        assert (blocked["refused"]["status"], blocked["refused"]["code"]) == (403, "key_blocked")
        assert "left" in blocked["refused"]["message"]
        await gateway.admin.make_key("zero", limits={"chats_per_minute": 0})
        assert (await check(gateway, "zero"))["refused"]["status"] == 429
        missing = await gateway.admin.call("GET", "/limits/check?key=nobody")
        assert (missing.status, missing.code) == (404, "not_found")
        wrong = await gateway.admin.call("GET", "/limits/check")
        assert (wrong.status, wrong.body["error"]["param"]) == (400, "key")
