"""The admin API of a whole gateway: what it changes holds for the next request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from emulator import Emulator
from gateway.admin.api.routes import BASE, admin_routes
from gateway.config.settings import Config
from gateway.server.reload import ConfigSource, ReloadRefused
from gateway.server.single_process import SingleProcess
from tests.integration.admin.support import ROOT_KEY, settings
from tests.waiting import LONGEST_WAIT, NEVER, eventually

CHAT = {"messages": [{"role": "user", "content": "[[say]]"}], "model": "fitten-code"}


class WholeGateway:
    """A gateway in one process, and requests to both of its ports."""

    def __init__(self, service: SingleProcess, url: str, http: aiohttp.ClientSession) -> None:
        self.service = service
        self.url = url
        self.http = http

    @property
    def admin_url(self) -> str:
        """The address of the admin API."""
        url = self.service.admin.url
        assert url is not None
        return url

    async def change(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request to the admin API; it must succeed."""
        async with self.http.request(
            method,
            f"{self.admin_url}{BASE}{path}",
            json=body,
            headers={"Authorization": f"Bearer {ROOT_KEY}"},
        ) as response:
            assert response.status < 300, await response.text()
            return await response.json() if response.status != 204 else None

    def stream(self, key: str) -> Any:
        """Send a chat whose answer has no end; use it with `async with`."""
        return self.http.post(
            f"{self.url}/v1/chat/completions",
            json={"messages": [{"role": "user", "content": "[[endless]]"}], "stream": True},
            headers={"Authorization": f"Bearer {key}"},
        )

    async def chat(self, key: str, path: str = "/v1/chat/completions") -> tuple[int, Any]:
        """Send a chat with a key; return status and body."""
        headers = {"Authorization": f"Bearer {key}"}
        async with self.http.post(self.url + path, json=CHAT, headers=headers) as response:
            return response.status, await response.json()


def whole_settings(folder: Path, emulator: Emulator, **sections: Any) -> Config:
    """Settings of a gateway before the emulator."""
    fitten = {
        "accounts": [{"username": "demo_user", "password": "correct horse"}],
        "base_url": emulator.url,
        "models_url": emulator.url,
        "state_file": str(folder / "state" / "fitten.json"),
    }
    server = {"port": 0, "drain_timeout": 2.0}
    return settings(folder, fitten=fitten, server=server, **sections)


@asynccontextmanager
async def whole_gateway(config: Config) -> AsyncIterator[WholeGateway]:
    """Run a gateway until the context ends."""
    service = SingleProcess(config)
    url = await service.start()
    try:
        async with aiohttp.ClientSession() as http:
            yield WholeGateway(service, url, http)
    finally:
        if not service.entrypoint.in_flight.closing:
            await service.stop()


@pytest.fixture
async def gateway(tmp_path: Path, emulator: Emulator) -> AsyncIterator[WholeGateway]:
    async with whole_gateway(whole_settings(tmp_path, emulator)) as running:
        yield running


async def test_a_key_works_from_its_making_to_its_block(gateway: WholeGateway) -> None:
    made = await gateway.change("POST", "/keys", {"name": "alice"})
    assert (await gateway.chat(made["key"]))[0] == 200
    await gateway.change("POST", "/keys/alice/block", {"reason": "on leave"})
    status, body = await gateway.chat(made["key"])
    assert (status, body["error"]["code"]) == (403, "key_blocked")
    assert "on leave" in body["error"]["message"]
    await gateway.change("POST", "/keys/alice/unblock")
    assert (await gateway.chat(made["key"]))[0] == 200
    await gateway.change("DELETE", "/keys/alice")
    assert (await gateway.chat(made["key"]))[0] == 401


async def test_keys_are_there_after_a_restart(tmp_path: Path, emulator: Emulator) -> None:
    config = whole_settings(tmp_path, emulator)
    async with whole_gateway(config) as gateway:
        made = await gateway.change("POST", "/keys", {"name": "alice"})
    async with whole_gateway(config) as gateway:
        assert (await gateway.chat(made["key"]))[0] == 200
        assert (await gateway.change("GET", "/keys/alice"))["id"] == made["id"]


async def test_an_admin_key_opens_no_api_and_a_key_no_admin_api(gateway: WholeGateway) -> None:
    made = await gateway.change("POST", "/admin-keys", {"name": "bob", "role": "admin"})
    for key in (ROOT_KEY, made["key"]):
        status, body = await gateway.chat(key)
        assert (status, body["error"]["code"]) == (401, "invalid_api_key")
    alice = await gateway.change("POST", "/keys", {"name": "alice"})
    async with gateway.http.get(
        f"{gateway.admin_url}{BASE}/keys", headers={"Authorization": f"Bearer {alice['key']}"}
    ) as response:
        assert response.status == 401


async def test_the_public_port_has_no_admin_route(gateway: WholeGateway) -> None:
    made = await gateway.change("POST", "/keys", {"name": "alice"})
    headers = {"Authorization": f"Bearer {made['key']}"}
    for route in admin_routes():
        for base in (BASE, f"/v1{BASE}", BASE.removeprefix("/admin")):
            url = gateway.url + base + route.path
            async with gateway.http.request(route.method, url, headers=headers) as response:
                assert response.status == 404, url
    headers = {"Authorization": f"Bearer {ROOT_KEY}"}
    async with gateway.http.get(f"{gateway.url}{BASE}/keys", headers=headers) as response:
        assert response.status == 401
    app = gateway.service.entrypoint.app
    paths = [resource.canonical for resource in app.router.resources()]
    assert [path for path in paths if "admin" in path] == []
    for path in ("/v1/chat/completions", "/health", "/ready", "/v1/models", "/"):
        async with gateway.http.get(gateway.admin_url + path, headers=headers) as response:
            assert response.status == 404, path


def source(load: Any) -> ConfigSource:
    return ConfigSource(load, lambda _: None, lambda: None, lambda _: None)


async def test_a_reload_moves_the_admin_port_or_is_refused(
    tmp_path: Path, emulator: Emulator
) -> None:
    config = whole_settings(tmp_path, emulator)
    async with whole_gateway(config) as gateway:
        made = await gateway.change("POST", "/keys", {"name": "alice"})
        former = gateway.admin_url
        taken = gateway.url.rpartition(":")[2]
        admin = replace(config.admin, listen=f"127.0.0.1:{taken}")
        with pytest.raises(ReloadRefused):
            await gateway.service.reload(source(lambda: replace(config, admin=admin)))
        assert gateway.admin_url == former
        admin = replace(config.admin, listen="localhost:0")
        await gateway.service.reload(source(lambda: replace(config, admin=admin)))
        assert gateway.admin_url != former
        assert (await gateway.change("GET", "/keys/alice"))["name"] == "alice"
        assert (await gateway.chat(made["key"]))[0] == 200


async def test_a_deleted_team_revokes_all_its_keys_at_once(gateway: WholeGateway) -> None:
    await gateway.change("POST", "/teams", {"name": "web"})
    names = ("alice", "bob")
    made = {
        name: (await gateway.change("POST", "/keys", {"name": name, "team": "web"}))["key"]
        for name in names
    }
    other = (await gateway.change("POST", "/keys", {"name": "carol"}))["key"]
    async with gateway.stream(made["alice"]) as response:
        await response.content.readany()
        await gateway.change("DELETE", "/teams/web?keys=block")
        for key in made.values():
            status, body = await gateway.chat(key)
            assert (status, body["error"]["code"]) == (403, "key_blocked")
            assert "its team was deleted" in body["error"]["message"]
        assert await response.content.readany(), "what runs goes on"
    assert (await gateway.chat(other))[0] == 200


async def test_a_raise_holds_over_a_restart(tmp_path: Path, emulator: Emulator) -> None:
    config = whole_settings(tmp_path, emulator)
    limits = {"requests_per_month": 1, "requests_per_day": 5}
    async with whole_gateway(config) as gateway:
        made = await gateway.change("POST", "/keys", {"name": "alice", "limits": limits})
        grant = {"scope": "key", "scope_id": "alice", "limit": "requests_per_month", "amount": 2}
        await gateway.change("POST", "/grants", grant)
        assert [(await gateway.chat(made["key"]))[0] for _ in range(2)] == [200, 200]
        before = await gateway.change("GET", "/limits/check?key=alice")
    async with whole_gateway(config) as gateway:
        after = await gateway.change("GET", "/limits/check?key=alice")
        assert shown(after) == shown(before)
        assert ("requests_per_month", 3, 2, 1) in shown(after)
        assert [(await gateway.chat(made["key"]))[0] for _ in range(2)] == [200, 429]


def shown(report: Any) -> set[tuple[str, int, int, int]]:
    """The limits of a report that last longer than a moment, with what is used and left."""
    return {
        (limit["limit"], limit["maximum"], limit["used"], limit["left"])
        for limit in report["limits"]
        if limit["limit"].startswith("requests_per_")
    }


async def test_a_block_ends_open_requests_only_if_that_is_asked_for(gateway: WholeGateway) -> None:
    made = await gateway.change("POST", "/keys", {"name": "alice"})
    async with gateway.stream(made["key"]) as response:
        await response.content.readany()
        blocked = await gateway.change("POST", "/keys/alice/block", {})
        assert "ended" not in blocked
        assert await response.content.readany()
        await gateway.change("PATCH", "/keys/alice", {"name": "alicia"})
        blocked = await gateway.change("POST", "/keys/alicia/block", {"end_requests": True})
        assert blocked["ended"] == 1
        assert b"ended_by_admin" in await response.content.read()


async def test_an_admin_can_end_a_request_that_a_stop_waits_for(
    tmp_path: Path, emulator: Emulator
) -> None:
    config = whole_settings(tmp_path, emulator)
    config = replace(config, server=replace(config.server, drain_timeout=NEVER))
    async with whole_gateway(config) as gateway, asyncio.timeout(LONGEST_WAIT):
        made = await gateway.change("POST", "/keys", {"name": "alice"})
        async with gateway.stream(made["key"]) as response:
            await response.content.readany()
            stopping = asyncio.create_task(gateway.service.stop())
            in_flight = gateway.service.entrypoint.in_flight
            await eventually(lambda: in_flight.closing)
            (live,) = (await gateway.change("GET", "/live"))["requests"]
            await gateway.change("DELETE", f"/live/{live['id']}")
            assert b"ended_by_admin" in await response.content.read()
        await stopping
