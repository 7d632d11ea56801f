"""Whole gateways with an admin API: the single process, or a master with workers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from emulator import Emulator
from gateway.server.single_process import SingleProcess
from gateway.workers.master import Master
from tests.integration.admin.support import AdminUnderTest, settings
from tests.support import KEY


class GatewayWithAdmin:
    """A running gateway. `admin` calls its admin API, `http` the API for clients at `url`.

    service: the single process, or the master.
    """

    def __init__(
        self, service: Any, url: str, admin: AdminUnderTest, http: aiohttp.ClientSession
    ) -> None:
        self.service = service
        self.url = url
        self.admin = admin
        self.http = http

    def chat(self, text: str, *, key: str = KEY, **parameters: Any) -> Any:
        """Send a chat; use it with `async with`."""
        body = {"messages": [{"role": "user", "content": text}], **parameters}
        headers = {"Authorization": f"Bearer {key}"}
        return self.http.post(f"{self.url}/v1/chat/completions", json=body, headers=headers)


@asynccontextmanager
async def gateway_with_admin(
    emulator: Emulator, folder: Path, *, workers: int = 1, **sections: Any
) -> AsyncIterator[GatewayWithAdmin]:
    """Run a gateway before the emulator. Sections as in config.yaml."""
    fitten = {
        "accounts": [{"username": "demo_user", "password": "correct horse"}],
        "base_url": emulator.url,
        "models_url": emulator.url,
        "state_file": str(folder / "state" / "fitten.json"),
    }
    server = {"port": 0, "drain_timeout": 2.0, "workers": workers, **sections.pop("server", {})}
    chain = [{"api_key": {"keys": [{"name": "tester", "key": KEY}]}}]
    config = settings(
        folder,
        server=server,
        fitten=fitten | sections.pop("fitten", {}),
        middlewares=sections.pop("middlewares", chain),
        **sections,
    )
    service: Any = SingleProcess(config) if workers == 1 else Master(config)
    try:
        url = await service.start()
        listener, manager = service._admin, service._node_keys.manager
        unix = aiohttp.UnixConnector(str(config.admin_socket))
        jar = aiohttp.DummyCookieJar
        node: Any = None
        async with (
            aiohttp.ClientSession(cookie_jar=jar()) as http,
            aiohttp.ClientSession(connector=unix, cookie_jar=jar()) as local,
        ):
            admin = AdminUnderTest(config, node, manager, listener, http, local)
            yield GatewayWithAdmin(service, url, admin, http)
    finally:
        with contextlib.suppress(Exception):
            await service.stop()
        await service.close()
