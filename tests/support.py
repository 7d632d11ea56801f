"""A gateway under test, and a client that sends it HTTP requests."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from gateway.config import settings as config
from gateway.config.loading import load_config
from gateway.ledger.ledger import Ledger
from gateway.server import single_process
from gateway.server.entrypoint import Entrypoint
from gateway.shared_state import LocalState
from tests.waiting import LONGEST_WAIT, NEVER

KEY = "test-key-0123456789"
USUAL_MIDDLEWARES: list[Any] = [
    "request_id",
    "request_log",
    {"cors": {"allow_origins": ["https://chat.example.org"]}},
    {"api_key": {"keys": [{"name": "tester", "key": KEY}]}},
    {"rate_limit": {"requests_per_minute": 10_000}},
]

_NO_LIMITS: dict[str, Any] = {
    "server": {"header_timeout": NEVER, "body_timeout": NEVER},
    "stream": {"grace": NEVER, "keep_alive": NEVER, "write_timeout": NEVER},
    "fitten": {
        "timeouts": dict.fromkeys(
            ("connect", "call", "first_piece", "between_pieces", "answer"), NEVER
        ),
        "completion": {"timeout": NEVER},
    },
}

chat_client = "lean"  # of gateways that are started from now on; see integration/conftest.py


def needs(program: str) -> pytest.MarkDecorator:
    """Skip a test where a program of the system is missing; under CI it runs and fails."""
    missing = shutil.which(program) is None and os.environ.get("CI") != "true"
    return pytest.mark.skipif(missing, reason=f"there is no {program}")


@dataclass
class Gateway:
    """A running gateway and a client for it."""

    url: str
    entrypoint: Entrypoint
    config: config.Config
    http: aiohttp.ClientSession

    def post_chat(self, text: str, headers: dict[str, str] | None = None, **parameters: Any) -> Any:
        """Send a chat request with one user message; use it with `async with`."""
        messages = [{"role": "user", "content": text}]
        body = {"messages": messages, **parameters}
        return self.http.post(f"{self.url}/v1/chat/completions", json=body, headers=headers)

    async def stream(self, text: str, **parameters: Any) -> list[Any]:
        """Send a streamed chat; return its frames, parsed, with "[DONE]" as that string."""
        async with self.post_chat(text, stream=True, **parameters) as response:
            assert response.status == 200, await response.text()
            return frames(await response.read())

    async def whole(self, text: str, **parameters: Any) -> tuple[int, Any]:
        """Send a chat that is not streamed; return status and parsed body."""
        async with self.post_chat(text, **parameters) as response:
            return response.status, await response.json()


def without_limits(**sections: Any) -> dict[str, Any]:
    """Return sections of config.yaml by which no time limit ends anything, but for these."""
    return _merged(_NO_LIMITS, sections)


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = below | above
    for name in below.keys() & above.keys():
        if isinstance(below[name], dict):
            both[name] = _merged(below[name], above[name])
    return both


def frames(raw: bytes) -> list[Any]:
    """Return the data frames of an event stream, without comments; fail on anything else."""
    parsed: list[Any] = []
    assert raw.endswith(b"\n\n") or not raw
    for block in raw.split(b"\n\n")[:-1]:
        if block.startswith(b":"):
            continue
        assert block.startswith(b"data: "), block
        data = block.removeprefix(b"data: ")
        parsed.append("[DONE]" if data == b"[DONE]" else json.loads(data))
    return parsed


def content(parsed: list[Any], member: str = "content") -> str:
    """Return the text of a stream's frames."""
    return "".join(
        choice["delta"].get(member) or ""
        for frame in parsed
        if isinstance(frame, dict)
        for choice in frame.get("choices", ())
    )


async def is_ready(gateway: Gateway) -> None:
    """Return once the gateway has logged in."""
    async with asyncio.timeout(LONGEST_WAIT):
        while True:
            async with gateway.http.get(f"{gateway.url}/ready") as response:
                if response.status == 200:
                    return


@asynccontextmanager
async def running_gateway(
    fitten_url: str, folder: Path, *, process_ledger: Ledger | None = None, **sections: Any
) -> AsyncIterator[Gateway]:
    """Run a gateway on a free port, started as `serve` does. Sections as in config.yaml.

    process_ledger: takes lines about requests, which nobody moves into a database.
    """
    fitten = {
        "base_url": fitten_url,
        "models_url": fitten_url,
        "accounts": [{"username": "demo_user", "password": "correct horse"}],
        "state_file": str(folder / "fitten.json"),
        "chat_client": chat_client,
    }
    data = {
        "server": {"port": 0, "drain_timeout": 2.0, **sections.pop("server", {})},
        "fitten": {**fitten, **sections.pop("fitten", {})},
        "middlewares": sections.pop("middlewares", USUAL_MIDDLEWARES),
        **sections,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(data), "utf-8")
    loaded = load_config(path, {})
    shared = LocalState(process_ledger)
    entrypoint = await single_process.start_entrypoint(loaded, shared=shared)
    headers = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        try:
            yield Gateway(single_process.url_of_entrypoint(entrypoint), entrypoint, loaded, http)
        finally:
            await single_process.stop_entrypoint(entrypoint, loaded.server.drain_timeout, grace=0)
