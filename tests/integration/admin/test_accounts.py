"""An admin sees accounts, lets one rest, and logs it in anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from emulator import EmulatedAccount, Emulator
from gateway.server.reload import ConfigSource
from tests.integration.admin.gateways import GatewayWithAdmin, gateway_with_admin
from tests.integration.admin.support import VIEWER_KEY
from tests.waiting import eventually_awaited

LOGIN = "/codeuser/auth/login"
TWO = [
    {"username": "demo_user", "password": "correct horse"},
    {"username": "other@example.org", "password": "battery staple"},
]


def two_accounts() -> Emulator:
    """A Fitten with both accounts."""
    return Emulator(accounts=[EmulatedAccount(a["username"], a["password"]) for a in TWO])


async def states(gateway: GatewayWithAdmin, **options: Any) -> dict[str, Any]:
    answer = await gateway.admin.call("GET", "/accounts", **options)
    assert answer.status == 200, answer.body
    return {account["name"]: account for account in answer.body["accounts"]}


async def logged_in(gateway: GatewayWithAdmin) -> None:
    """Wait until every account is logged in."""

    async def all_are() -> bool:
        return all(state["logged_in"] for state in (await states(gateway)).values())

    await eventually_awaited(all_are)


async def served_by(gateway: GatewayWithAdmin) -> tuple[int, str]:
    """Send a chat; return its status and the error's text."""
    async with gateway.chat("[[say]]") as response:
        body = await response.json()
        return response.status, body.get("error", {}).get("message", "")


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_paused_account_rests_until_it_is_resumed(tmp_path: Path, workers: int) -> None:
    async with (
        two_accounts() as fitten,
        gateway_with_admin(fitten, tmp_path, workers=workers, fitten={"accounts": TWO}) as gateway,
    ):
        await logged_in(gateway)
        paused = await gateway.admin.call("POST", "/accounts/demo_user/pause", {})
        assert paused.status == 200, paused.body
        assert (paused.body["state"], paused.body["next_try_in"]) == ("paused", None)
        other = await gateway.admin.call(
            "POST", "/accounts/other%40example.org/pause", {"seconds": 3600}
        )
        assert 3500 < other.body["next_try_in"] <= 3600
        status, message = await served_by(gateway)
        assert status == 503
        assert "administrator" in message
        health = (await gateway.admin.call("GET", "/health")).body
        assert (health["accounts"], health["accounts_serving"]) == (2, 0)
        assert not health["ready"]
        assert "administrator" in health["fault"]
        resumed = await gateway.admin.call("POST", "/accounts/demo_user/resume")
        assert resumed.body["state"] == "healthy"
        assert (await served_by(gateway))[0] == 200
        found = (await gateway.admin.call("GET", "/audit")).body["rows"]
        assert [(row["action"], row["object_id"]) for row in found] == [
            ("account.resume", "demo_user"),
            ("account.pause", "other@example.org"),
            ("account.pause", "demo_user"),
        ]
        assert found[1]["change"] == {"seconds": [None, 3600.0]}


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_pause_outlasts_a_reload(emulator: Emulator, tmp_path: Path, workers: int) -> None:
    async with gateway_with_admin(emulator, tmp_path, workers=workers) as gateway:
        await gateway.admin.call("POST", "/accounts/demo_user/pause", {})
        source = ConfigSource(
            load=lambda: gateway.admin.config,
            adopt=lambda _: None,
            reopen=lambda: None,
            on_secret=lambda _: None,
        )
        await gateway.service.reload(source)
        assert (await states(gateway))["demo_user"]["state"] == "paused"
        assert (await served_by(gateway))[0] == 503
        await gateway.admin.call("POST", "/accounts/demo_user/resume")
        assert (await served_by(gateway))[0] == 200


async def test_a_new_login_is_made_and_its_failure_is_shown(
    emulator: Emulator, tmp_path: Path
) -> None:
    async with gateway_with_admin(emulator, tmp_path) as gateway:
        await logged_in(gateway)
        before = len(emulator.calls_to(LOGIN))
        answer = await gateway.admin.call("POST", "/accounts/demo_user/login")
        assert (answer.status, answer.body["state"]) == (200, "healthy")
        assert len(emulator.calls_to(LOGIN)) == before + 1
        emulator.account("demo_user").password = "changed"
        refused = await gateway.admin.call("POST", "/accounts/demo_user/login")
        assert refused.status == 503
        assert "user name or password" in refused.body["error"]["message"]
        state = (await states(gateway, key=VIEWER_KEY))["demo_user"]
        assert state["state"] == "dead"
        assert not state["logged_in"]


async def test_who_may_only_look_changes_no_account(emulator: Emulator, tmp_path: Path) -> None:
    async with gateway_with_admin(emulator, tmp_path) as gateway:
        for action in ("pause", "resume", "login"):
            path = f"/accounts/demo_user/{action}"
            answer = await gateway.admin.call("POST", path, {}, key=VIEWER_KEY)
            assert (answer.status, answer.code) == (403, "forbidden")
            missing = await gateway.admin.call("POST", f"/accounts/nobody/{action}", {})
            assert (missing.status, missing.code) == (404, "not_found")
        for body, param in (({"seconds": 0}, "seconds"), ({"minutes": 5}, "minutes")):
            answer = await gateway.admin.call("POST", "/accounts/demo_user/pause", body)
            assert answer.status == 400
            assert answer.body["error"]["param"] == param
        assert (await states(gateway))["demo_user"]["state"] != "paused"
