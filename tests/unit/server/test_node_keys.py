"""Keys that could not be read at the start come later, with what is wrong about them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.keys.changes import Actor, NewKey
from gateway.keys.directory import KeyDirectory
from gateway.keys.manager import KeyManager
from gateway.keys.records import KeyTable
from gateway.server import node_keys
from gateway.server.node_keys import NodeKeys
from tests.integration.admin.support import settings
from tests.waiting import LONGEST_WAIT

ITEM = {"name": "ci", "key": "team-key-0123456789"}


async def test_keys_that_come_late_are_used_and_a_name_of_the_settings_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_keys, "_RETRY", 0.01)
    config = settings(tmp_path, middlewares=[{"api_key": {"keys": [ITEM]}}])
    path = config.store_file
    assert path is not None
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no database" * 1000)
    keys, directory = NodeKeys(config), KeyDirectory()
    published = asyncio.Event()

    async def publish(table: KeyTable) -> None:
        directory.replace(table)
        published.set()

    with capture_logs() as lines:
        await keys.load(directory)
    assert ([line["event"] for line in lines], directory.version) == (["keys_not_loaded"], 0)
    path.unlink()
    manager = KeyManager(path)
    made = manager.add_key(Actor("local:root"), NewKey(name="ci")).record
    manager.close()
    with capture_logs() as lines:
        keys.start(directory, publish)
        async with asyncio.timeout(LONGEST_WAIT):
            await published.wait()
        await keys.stop()
    assert directory.key(made.id) is not None
    (shared,) = [line for line in lines if line["event"] == "names_shared"]
    assert made.id in shared["mistakes"][0]
