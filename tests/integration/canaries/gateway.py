"""Runs a gateway whose settings are canaries (recognisable secrets), and sends it requests."""

from __future__ import annotations

import json
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from emulator import EmulatedAccount, Emulator
from gateway.config.loading import load_config
from gateway.redaction import Redactor
from gateway.server import single_process
from tests.integration.canaries.net import (
    API_KEY,
    OTHER_PASSWORD,
    OTHER_USER_ID,
    OTHER_USERNAME,
    PASSWORD,
    PROMPT,
    USER_ID,
    USERNAME,
    Net,
    everything_logged,
)
from tests.integration.peer import CHAT, Peer, PeerAnswer


@asynccontextmanager
async def listening(net: Net, place: str, path: Path) -> AsyncIterator[str]:
    """Run a gateway with that configuration; return its URL. Every log line is put into the net."""
    settings = load_config(path, {})
    net.put("settings", repr(settings))
    redactor = Redactor(settings.secrets())
    with everything_logged(net, place, redactor):
        entrypoint = await single_process.start_entrypoint(settings, on_secret=redactor.add)
        try:
            yield single_process.url_of_entrypoint(entrypoint)
        finally:
            await single_process.stop_entrypoint(entrypoint, 0.1, grace=0)
    if settings.state_file.exists():
        assert stat.S_IMODE(settings.state_file.stat().st_mode) == 0o600
        assert stat.S_IMODE(settings.state_file.parent.stat().st_mode) == 0o700


@asynccontextmanager
async def watched_gateway(
    net: Net, place: str, folder: Path, *scenarios: str, **sections: Any
) -> AsyncIterator[tuple[str, Emulator]]:
    """Run such a gateway before an emulator whose accounts have these scenarios."""
    accounts = [
        EmulatedAccount(USERNAME, PASSWORD, USER_ID, scenarios=set(scenarios)),
        EmulatedAccount(OTHER_USERNAME, OTHER_PASSWORD, OTHER_USER_ID, scenarios=set(scenarios)),
    ]
    async with Emulator(accounts=accounts, slow=0.3) as emulator:
        path = config_file(folder, emulator.url, **sections)
        async with listening(net, place, path) as url:
            yield url, emulator


def config_data(folder: Path, fitten_url: str, **sections: Any) -> dict[str, Any]:
    """A configuration with two accounts and short waits; sections as in config.yaml."""
    fitten = {
        "base_url": fitten_url,
        "models_url": fitten_url,
        "accounts": [
            {"username": USERNAME, "password": PASSWORD},
            {"username": OTHER_USERNAME, "password": OTHER_PASSWORD},
        ],
        "state_file": str(folder / "state" / "fitten.json"),
        "timeouts": {"call": 2.0, "first_piece": 2.0, "between_pieces": 2.0},
        "completion": {"timeout": 2.0},
        "pool": {"breaker_failures": 0},
        **sections.pop("fitten", {}),
    }
    return {
        "server": {"port": 0, "body_timeout": 1.0, "max_body_bytes": 100_000},
        "stream": {"write_timeout": 0.3},
        "fitten": fitten,
        "middlewares": [
            "request_id",
            "request_log",
            {"api_key": {"keys": [{"name": "tester", "key": API_KEY}]}},
        ],
        **sections,
    }


def config_file(folder: Path, fitten_url: str, **sections: Any) -> Path:
    """The file of such a configuration."""
    path = folder / "config.yaml"
    data = config_data(folder, fitten_url, **sections)
    path.write_text(yaml.safe_dump(data, allow_unicode=True), "utf-8")
    path.chmod(0o600)
    return path


def head(path: str = CHAT, key: str = API_KEY) -> str:
    """The head of a POST, without the empty line at its end."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {key}\r\n"
        "Content-Type: application/json\r\n"
    )


async def post(url: str, path: str, body: Any, key: str = API_KEY) -> PeerAnswer:
    """Send a request on a connection of its own; the answer of a failed stream may be cut short."""
    raw = (body if isinstance(body, str) else json.dumps(body)).encode()
    length = f"Content-Length: {len(raw)}\r\n\r\n"
    return await exchange(url, (head(path, key) + length).encode() + raw)


async def exchange(url: str, raw: bytes) -> PeerAnswer:
    """Return the answer to these bytes."""
    peer = await Peer.connect(url)
    try:
        await peer.send(raw)
        return await peer.answer()
    finally:
        peer.close()


def chat(text: str, stream: bool = False, **parameters: Any) -> dict[str, Any]:
    """The body of a chat request about the secret prompt."""
    messages = [{"role": "user", "content": f"{PROMPT} {text}"}]
    return {"messages": messages, "stream": stream, **parameters}
