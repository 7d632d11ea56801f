"""The admin API of a node without a gateway, on real sockets, and a client for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from gateway.admin.node import Confirmed
from gateway.app import ACCOUNTS, CONFIG
from gateway.config.loading import load_config
from gateway.config.settings import Config
from gateway.fitten.account_registry import LocalAccountRegistry
from gateway.fitten.client import FittenClient
from gateway.http.in_flight import InFlightRequests
from gateway.keys.records import KeyTable
from gateway.server.admin_listener import AdminListener
from gateway.server.local_node import LocalNode
from gateway.server.node_keys import NodeKeys
from gateway.shared_state import LocalState

ROOT_KEY = "root-key-0123456789abcdef"
VIEWER_KEY = "viewer-key-0123456789abcdef"
METRICS_KEY = "metrics-key-0123456789abcdef"
ADMIN_KEYS = [
    {"name": "root", "key": ROOT_KEY, "role": "admin"},
    {"name": "watcher", "key": VIEWER_KEY, "role": "viewer"},
    {"name": "scraper", "key": METRICS_KEY, "role": "metrics"},
]
BASE = "/admin/api/v1"


class NodeDouble(LocalNode):
    """A node of one process that serves nobody.

    app, state: in place of those of a gateway. published: the versions of the tables of keys.
    """

    def __init__(self, config: Config) -> None:
        self.state = LocalState()
        self.state.configure(config)
        self.app = web.Application()
        self.app[CONFIG] = config
        client = FittenClient(config.fitten)
        self.app[ACCOUNTS] = LocalAccountRegistry(config, client, lambda _: None)
        super().__init__(self.state, lambda: self.app, InFlightRequests(), config.store_file)
        self.published: list[int] = []

    async def publish(self, table: KeyTable) -> Confirmed:
        """Use a table, and note its version."""
        self.published.append(table.version)
        return await super().publish(table)


@dataclass
class Response:
    """What the admin API answered."""

    status: int
    body: Any
    headers: Any

    @property
    def code(self) -> str:
        """The code of an error."""
        return str(self.body["error"]["code"])


@dataclass
class AdminUnderTest:
    """A running admin API. `http` reaches it over TCP, `local` over the UNIX socket."""

    config: Config
    node: NodeDouble
    keys: NodeKeys
    listener: AdminListener
    http: aiohttp.ClientSession
    local: aiohttp.ClientSession

    @property
    def url(self) -> str:
        """The address of the TCP listener."""
        assert self.listener.url is not None
        return self.listener.url

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = ROOT_KEY,
        headers: dict[str, str] | None = None,
        unix: bool = False,
    ) -> Response:
        """Send a request below the base of the admin API; key: the admin key, or None."""
        sent = {} if key is None or unix else {"Authorization": f"Bearer {key}"}
        http, host = (self.local, "http://local") if unix else (self.http, self.url)
        async with http.request(
            method, f"{host}{BASE}{path}", json=body, headers=sent | (headers or {})
        ) as response:
            raw = await response.read()
            is_json = raw and response.content_type == "application/json"
            parsed = await response.json() if is_json else raw
            return Response(response.status, parsed, response.headers)

    async def reload(self, config: Config) -> None:
        """Apply other settings, as a reload does."""
        with self.listener.prepared(config):
            self.node.app[CONFIG] = config
        self.keys.configure(config)
        await self.listener.configure(config)

    async def make_key(self, name: str = "alice", **fields: Any) -> Any:
        """Make a key and return the answer's body."""
        made = await self.call("POST", "/keys", {"name": name, **fields})
        assert made.status == 201, made.body
        return made.body

    async def make_admin_key(self, name: str, role: str = "admin") -> Any:
        """Make an admin key and return the answer's body."""
        made = await self.call("POST", "/admin-keys", {"name": name, "role": role})
        assert made.status == 201, made.body
        return made.body


def settings(folder: Path, **sections: Any) -> Config:
    """Read settings with an admin API over TCP, unless `sections` have another."""
    data: dict[str, Any] = {
        "fitten": {
            "accounts": [{"username": "ada", "password": "correct horse"}],
            "state_file": str(folder / "state" / "fitten.json"),
        },
        "admin": {"listen": "127.0.0.1:0", "keys": ADMIN_KEYS},
        "middlewares": [{"api_key": {"keys": []}}],
        **sections,
    }
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(data), "utf-8")
    return load_config(file, {})


@asynccontextmanager
async def running_admin(config: Config) -> AsyncIterator[AdminUnderTest]:
    """Serve the admin API of a node with these settings."""
    node, keys, listener = NodeDouble(config), NodeKeys(config), AdminListener(config)
    listener.open()
    try:
        await keys.load(node.directory)
        await listener.start(node, keys.manager)
        unix = aiohttp.UnixConnector(str(config.admin_socket))
        jar = aiohttp.DummyCookieJar
        async with (
            aiohttp.ClientSession(cookie_jar=jar()) as http,
            aiohttp.ClientSession(connector=unix, cookie_jar=jar()) as local,
        ):
            yield AdminUnderTest(config, node, keys, listener, http, local)
    finally:
        await listener.stop()
        await keys.stop()
