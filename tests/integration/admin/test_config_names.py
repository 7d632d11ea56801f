"""Names of config.yaml and of the store: teams are shared, and no name is used twice."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from emulator import Emulator
from gateway.config.loading import load_config
from gateway.config.settings import Config, ConfigError
from gateway.keys.changes import Actor, NewKey
from gateway.keys.manager import DAY_MS, KeyManager
from gateway.server.reload import ConfigSource, ReloadRefused
from gateway.server.single_process import SingleProcess
from tests.integration.admin.gateways import GatewayWithAdmin, gateway_with_admin
from tests.integration.admin.support import running_admin, settings
from tests.support import KEY

TESTER = {"name": "tester", "key": KEY, "team": "web"}
TEAMS = [{"name": "web", "requests_per_month": 3}]


def api_keys(*items: dict[str, str]) -> list[dict[str, Any]]:
    return [{"api_key": {"keys": list(items)}}]


def changed(folder: Path, **sections: Any) -> Config:
    """The settings in the folder, with other sections."""
    data = yaml.safe_load((folder / "config.yaml").read_text("utf-8"))
    other = folder / "other.yaml"
    other.write_text(yaml.safe_dump(data | sections), "utf-8")
    return load_config(other, {})


async def reload(gateway: GatewayWithAdmin, config: Config) -> None:
    await gateway.service.reload(
        ConfigSource(lambda: config, lambda _: None, lambda: None, lambda _: None)
    )


async def status(gateway: GatewayWithAdmin, key: str) -> int:
    async with gateway.chat("[[say]]", key=key) as response:
        return int(response.status)


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_key_in_a_team_of_the_configuration_follows_that_file(
    emulator: Emulator, tmp_path: Path, workers: int, log_events: list[Any]
) -> None:
    chain = api_keys(TESTER)
    async with gateway_with_admin(
        emulator, tmp_path, workers=workers, middlewares=chain, teams=TEAMS
    ) as gateway:
        alice = await gateway.admin.make_key("alice", team="web")
        assert alice["team"] == {"id": None, "name": "web"}
        team = (await gateway.admin.call("GET", "/teams/web")).body
        assert (team["source"], team["keys"]) == ("config", 2)
        for method, path in (
            ("PATCH", "/teams/web"),
            ("POST", "/teams/web/block"),
            ("DELETE", "/teams/web?keys=block"),
        ):
            refused = await gateway.admin.call(method, path, {} if method == "PATCH" else None)
            assert (refused.status, refused.code) == (409, "managed_by_config"), path
        found = [await status(gateway, key) for key in (alice["key"], KEY) * 2]
        assert found == [200, 200, 200, 429]
        # One more for both, from the reload on.
        await reload(gateway, changed(tmp_path, teams=[{"name": "web", "requests_per_month": 4}]))
        assert [await status(gateway, key) for key in (alice["key"], KEY)] == [200, 429]
        without = {name: TESTER[name] for name in ("name", "key")}
        await reload(gateway, changed(tmp_path, teams=[], middlewares=api_keys(without)))
        assert [await status(gateway, key) for key in (alice["key"], KEY)] == [200, 200]
        (warning,) = [line for line in log_events if line["event"] == "team_not_in_config"]
        assert (warning["team"], warning["keys"]) == ("web", 1)
        assert (await gateway.admin.call("GET", "/keys/alice")).body["team"]["name"] == "web"


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_reload_with_a_name_of_the_store_is_refused(
    emulator: Emulator, tmp_path: Path, workers: int, log_events: list[Any]
) -> None:
    async with gateway_with_admin(emulator, tmp_path, workers=workers) as gateway:
        alice = await gateway.admin.make_key("alice")
        await gateway.admin.call("POST", "/teams", {"name": "ops"})
        with pytest.raises(ReloadRefused, match=r"^see teams and the log$"):
            await reload(gateway, changed(tmp_path, teams=[{"name": "ops"}]))
        other = {"name": "alice", "key": "another-key-0123456789"}
        with pytest.raises(ReloadRefused):
            await reload(gateway, changed(tmp_path, middlewares=api_keys(other)))
        lines = [line for line in log_events if line["event"] == "reload_refused"]
        assert f"fitten-gateway keys set {alice['id']} --name NAME" in lines[-1]["mistakes"][0]
        # The former settings are in force.
        assert [await status(gateway, key) for key in (alice["key"], KEY)] == [200, 200]
        await gateway.admin.call("PATCH", "/keys/alice", {"name": "alicia"})
        await reload(gateway, changed(tmp_path, middlewares=api_keys(other)))
        assert [await status(gateway, key) for key in (alice["key"], other["key"])] == [200, 200]


async def test_a_start_with_a_name_of_the_store_is_refused(tmp_path: Path) -> None:
    config = settings(tmp_path, middlewares=api_keys(TESTER), teams=TEAMS, server={"port": 0})
    assert config.store_file is not None
    config.store_file.parent.mkdir(parents=True)
    manager = KeyManager(config.store_file)
    made = manager.add_key(Actor("local:root"), NewKey(name="tester")).record
    manager.close()
    service = SingleProcess(config)
    with pytest.raises(ConfigError) as refused:
        await service.start()
    (mistake,) = refused.value.mistakes
    assert mistake.startswith("api_key.keys: the name 'tester' is also that of a key made at run")
    assert made.id in mistake


async def test_rows_of_the_audit_are_kept_as_long_as_the_settings_say(tmp_path: Path) -> None:
    config = settings(tmp_path, audit={"keep_days": 20})
    assert config.store_file is not None
    config.store_file.parent.mkdir(parents=True)
    ten_days_ago = time.time_ns() // 1_000_000 - 10 * DAY_MS
    manager = KeyManager(config.store_file, clock=lambda: ten_days_ago)
    manager.add_key(Actor("local:root"), NewKey(name="former"))
    manager.close()
    async with running_admin(config) as admin:

        async def names() -> set[str]:
            rows = (await admin.call("GET", "/audit")).body["rows"]
            return {row["object_name"] for row in rows}

        await admin.make_key("alice")
        assert await names() == {"former", "alice"}
        await admin.reload(changed(tmp_path, audit={"keep_days": 9}))
        await admin.make_key("bob")
        assert await names() == {"alice", "bob"}
