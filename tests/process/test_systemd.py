"""FakeSystemd ends what it started, after a failure too, so that no other test is disturbed."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from tests.process.conftest import Configure
from tests.process.systemd import FakeSystemd, alive, children
from tests.waiting import eventually

# With a child that leads a group of its own, as a worker does.
NEVER_READY = ("/bin/sh", "-c", "setsid sleep 3600 & exec sleep 3600", "sh")


def free(address: tuple[str, int], notify: str) -> None:
    """Fail if an address is in use."""
    socket.create_server(address, reuse_port=False).close()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again:
        again.bind(notify)


async def test_a_start_that_fails_leaves_no_process_and_no_address(tmp_path: Path) -> None:
    fake_systemd = FakeSystemd(tmp_path)
    address = fake_systemd.listening.getsockname()
    with pytest.raises(TimeoutError):
        await fake_systemd.start(prefix=NEVER_READY, within=0.1)
    (service,) = fake_systemd._services
    with pytest.raises(TimeoutError):
        await service.exit_status(within=0.1)
    (child,) = await eventually(lambda: children(service.pid))
    await eventually(lambda: os.getpgid(child) == child)
    await fake_systemd.close()
    await eventually(lambda: not alive([service.pid, child]))
    free(address, fake_systemd.address)


async def test_a_process_that_ends_before_it_is_ready_is_reported_with_its_output(
    tmp_path: Path,
) -> None:
    fake_systemd = FakeSystemd(tmp_path)
    address = fake_systemd.listening.getsockname()
    with pytest.raises(AssertionError, match="no such file"):
        await fake_systemd.start(prefix=("/bin/sh", "-c", "echo no such file >&2", "sh"))
    await fake_systemd.close()
    free(address, fake_systemd.address)


async def test_the_sockets_are_closed_although_a_service_cannot_be_ended(
    tmp_path: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the other services are ended all the same."""
    fake_systemd = FakeSystemd(tmp_path)
    address = fake_systemd.listening.getsockname()
    first, second = [await fake_systemd.start() for _ in range(2)]
    end = first.end

    async def fails() -> None:
        await end()
        raise asyncio.CancelledError

    monkeypatch.setattr(first, "end", fails)
    with pytest.raises(AssertionError, match="CancelledError"):
        await fake_systemd.close()
    assert second.process.returncode is not None
    free(address, fake_systemd.address)
