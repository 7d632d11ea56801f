"""The admin API of a master with workers: what is changed there holds in each worker."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from gateway.server.admin_listener import open_unix_socket
from gateway.workers.master import Master
from tests.conftest import StartGateway
from tests.integration.admin.support import ADMIN_KEYS, BASE, ROOT_KEY
from tests.process.conftest import Configure
from tests.process.systemd import FakeSystemd

WORKERS = 2
CHAT = {"messages": [{"role": "user", "content": "[[say]]"}]}


async def change(base: str, method: str, path: str, body: Any = None) -> Any:
    """Send a request to an admin API over TCP; it must succeed."""
    headers = {"Authorization": f"Bearer {ROOT_KEY}"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.request(method, f"{base}{BASE}{path}", json=body) as response,
    ):
        assert response.status < 300, await response.text()
        return await response.json()


async def statuses(url: str, key: str, count: int = 20) -> Counter[int]:
    """Send chats over as many connections; return how many got each status."""

    async def ask(http: aiohttp.ClientSession) -> int:
        async with http.post(f"{url}/v1/chat/completions", json=CHAT) as response:
            return response.status

    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as http:
        return Counter(await asyncio.gather(*(ask(http) for _ in range(count))))


async def test_each_worker_has_confirmed_a_change_that_is_answered(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(
        middlewares=["request_id", {"api_key": {"keys": []}}],
        admin={"listen": "127.0.0.1:0", "keys": ADMIN_KEYS},
    )
    config = replace(gateway.config, server=replace(gateway.config.server, workers=WORKERS))
    for start in (1, 2):
        master = Master(config)
        try:
            url = await master.start()
            admin = master.admin.url
            assert admin is not None
            if start == 1:
                made = await change(admin, "POST", "/keys", {"name": "alice"})
                assert made["applied"] == {"confirmed": WORKERS, "of": WORKERS}
            assert await statuses(url, made["key"]) == {200: 20}
            blocked = await change(admin, "POST", "/keys/alice/block")
            assert blocked["applied"] == {"confirmed": WORKERS, "of": WORKERS}
            assert await statuses(url, made["key"]) == {403: 20}
            await change(admin, "POST", "/keys/alice/unblock")
            assert (await change(admin, "GET", "/health"))["workers_serving"] == WORKERS
            await master.stop()
        finally:
            await master.close()
        assert not config.admin_socket.exists()


async def test_the_service_has_its_socket_while_it_runs(
    fake_systemd: FakeSystemd, configure: Configure, tmp_path: Path
) -> None:
    path = tmp_path / "admin.sock"
    open_unix_socket(path).close()  # as a process that was killed leaves it
    service = await fake_systemd.start()
    connector = aiohttp.UnixConnector(str(path))
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        http.get(f"http://local{BASE}/session") as response,
    ):
        assert (await response.json())["role"] == "admin"
    assert os.stat(path).st_mode & 0o777 == 0o600
    service.signal(signal.SIGTERM)
    assert await service.exit_status() == 0
    assert not path.exists()
