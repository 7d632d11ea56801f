"""The settings in use, without a secret, and how the gateway is."""

from __future__ import annotations

from pathlib import Path

import pytest

from emulator import Emulator
from tests.integration.admin.gateways import gateway_with_admin
from tests.integration.admin.support import METRICS_KEY, ROOT_KEY, VIEWER_KEY
from tests.support import KEY


@pytest.mark.parametrize("workers", [1, 2])
async def test_the_state_of_the_gateway_is_shown(
    emulator: Emulator, tmp_path: Path, workers: int
) -> None:
    async with gateway_with_admin(emulator, tmp_path, workers=workers) as gateway:
        await gateway.admin.make_key("alice")
        async with gateway.chat("[[endless]]", stream=True) as response:
            await response.content.readany()
            health = (await gateway.admin.call("GET", "/health", key=METRICS_KEY)).body
        count = None if workers == 1 else workers
        assert (health["workers"], health["workers_serving"]) == (count, count)
        assert (health["ready"], health["fault"], health["degraded"]) == (True, None, [])
        assert (health["accounts"], health["accounts_serving"]) == (1, 1)
        assert health["keys_version"] > 0
        assert health["at"] >= health["started_at"]
        assert workers > 1 or health["requests"] == 1


async def test_the_settings_in_use_are_shown_without_their_secrets(
    emulator: Emulator, tmp_path: Path
) -> None:
    async with gateway_with_admin(emulator, tmp_path) as gateway:
        answer = await gateway.admin.call("GET", "/config", key=VIEWER_KEY)
        config = answer.body["config"]
        assert config["admin"]["listen"] == "127.0.0.1:0"
        assert config["fitten"]["accounts"][0]["username"] == "demo_user"
        for secret in ("correct horse", KEY, ROOT_KEY, VIEWER_KEY, METRICS_KEY):
            assert secret not in str(answer.body)
        assert (await gateway.admin.call("GET", "/config", key=METRICS_KEY)).status == 403
