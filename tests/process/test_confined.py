"""The gateway under the restrictions of its unit."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from gateway.keys.manager import KeyManager
from tests.integration.admin.support import ADMIN_KEYS, BASE
from tests.process.conftest import Configure
from tests.process.systemd import ROOT, FakeSystemd
from tests.process.test_admin import change
from tests.process.test_reload import ask

pytestmark = pytest.mark.skipif("CONFINED" in os.environ, reason="it is confined already")

CONFINED = [sys.executable, str(ROOT / "deploy/confined.py")]


async def test_the_gateway_works_under_the_restrictions_of_its_unit(
    fake_systemd: FakeSystemd, configure: Configure, tmp_path: Path
) -> None:
    service = await fake_systemd.start(prefix=[*CONFINED, "--writable", str(tmp_path)])
    assert (await ask(fake_systemd)).status == 200
    assert "refused" not in await fake_systemd.reload(service)
    assert (await ask(fake_systemd)).status == 200
    service.signal(signal.SIGTERM)
    assert await service.exit_status() == 0


async def test_the_store_and_the_admin_api_work_under_the_restrictions_too(
    fake_systemd: FakeSystemd, configure: Configure, tmp_path: Path
) -> None:
    configure(admin={"listen": "127.0.0.1:0", "keys": ADMIN_KEYS})
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    service = await fake_systemd.start(
        prefix=[*CONFINED, "--writable", str(tmp_path)],
        environ={"RUNTIME_DIRECTORY": str(runtime)},
    )
    connector = aiohttp.UnixConnector(str(runtime / "admin.sock"))
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        http.post(f"http://local{BASE}/keys", json={"name": "alice"}) as response,
    ):
        assert response.status == 201, await response.text()
        key = (await response.json())["key"]
    assert (await ask(fake_systemd, key)).status == 200
    url = (await service.event("admin_listening"))["url"]
    await change(url, "POST", "/keys/alice/block")
    assert (await ask(fake_systemd, key)).status == 403
    service.signal(signal.SIGTERM)
    assert await service.exit_status() == 0
    assert [one.name for one in KeyManager(tmp_path / "team.db").table().keys] == ["alice"]
    assert list(runtime.iterdir()) == []


TRIES = {
    "a socket of another family": (
        "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        hasattr(socket, "AF_NETLINK"),
    ),
    "memory that is both writable and executable": ("mmap.mmap(-1, 4096, prot=7)", True),
}


@pytest.mark.parametrize(("attempt", "known"), TRIES.values(), ids=TRIES.keys())
def test_the_restrictions_are_there(attempt: str, known: bool) -> None:
    code = f"import mmap, socket\ntry: {attempt}\nexcept OSError: print('refused')"
    done = subprocess.run(
        [*CONFINED, sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    if not known or "SystemCallFilter" in done.stderr or "MemoryDeny" in done.stderr:
        pytest.skip(done.stderr)
    assert done.stdout == "refused\n"
