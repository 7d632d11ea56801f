"""The gateway under the restrictions of its unit."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.conftest import Configure, keys
from tests.process.systemd import ROOT, FakeSystemd
from tests.process.test_commands import CommandLine, commands
from tests.process.test_reload import ask
from tests.support import KEY

__all__ = ["commands"]

pytestmark = pytest.mark.skipif("CONFINED" in os.environ, reason="it is confined already")

CONFINED = [sys.executable, str(ROOT / "deploy/confined.py")]


async def test_the_gateway_works_under_the_restrictions_of_its_unit(
    fake_systemd: FakeSystemd, configure: Configure, commands: CommandLine, tmp_path: Path
) -> None:
    configure(middlewares=[keys(KEY)], admin={"listen": "127.0.0.1:0"})
    service = await fake_systemd.start(prefix=[*CONFINED, "--writable", str(tmp_path)])
    assert (await ask(fake_systemd)).status == 200
    made = await commands.run("keys add alice")
    assert (await ask(fake_systemd, made)).status == 200
    await commands.run("keys block alice")
    assert (await ask(fake_systemd, made)).status == 403
    assert "admin_listening" in service.raw
    assert "refused" not in await fake_systemd.reload(service)
    assert (await ask(fake_systemd)).status == 200
    service.signal(signal.SIGTERM)
    assert await service.exit_status() == 0


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
