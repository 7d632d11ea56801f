"""Fixtures: a fake systemd, and a configuration for the services that it starts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from emulator import Emulator
from tests.integration.conftest import connect as connect
from tests.process.systemd import FakeSystemd
from tests.support import KEY

Configure = Callable[..., None]


@pytest.fixture
async def fake_systemd(tmp_path: Path) -> AsyncIterator[FakeSystemd]:
    running = FakeSystemd(tmp_path)
    try:
        yield running
    finally:
        await running.close()


@pytest.fixture
def configure(emulator: Emulator, tmp_path: Path) -> Configure:
    """Write config.yaml: the usual one, with sections that override it."""

    def write(**sections: Any) -> None:
        fitten = {
            "base_url": emulator.url,
            "models_url": emulator.url,
            "accounts": [{"username": "demo_user", "password": "correct horse"}],
            "state_file": str(tmp_path / "fitten.json"),
        }
        data = {
            "server": {"port": 0, "drain_timeout": 2.0, **sections.pop("server", {})},
            "fitten": {**fitten, **sections.pop("fitten", {})},
            "log": {"format": "json", **sections.pop("log", {})},
            "middlewares": sections.pop("middlewares", [keys(KEY), limit(100_000)]),
            **sections,
        }
        new = tmp_path / "config.new"
        new.write_text(yaml.safe_dump(data), "utf-8")
        new.replace(tmp_path / "config.yaml")

    write()
    return write


def keys(*values: str) -> dict[str, Any]:
    """Return the api_key middleware with these keys."""
    named = [{"name": f"k{index}", "key": key} for index, key in enumerate(values)]
    return {"api_key": {"keys": named}}


def limit(requests_per_minute: int) -> dict[str, Any]:
    """Return the rate_limit middleware."""
    return {"rate_limit": {"requests_per_minute": requests_per_minute}}
