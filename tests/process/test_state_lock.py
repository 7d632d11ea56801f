"""A gateway that runs is seen by its state file, also with workers and over reloads."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from gateway.store.state_lock import StateLock
from tests.process.conftest import Configure
from tests.process.systemd import FakeSystemd
from tests.waiting import eventually


def in_use(state_file: Path) -> bool:
    with StateLock() as lock:
        return not lock.take(state_file)


@pytest.mark.parametrize("workers", [1, 2])
async def test_the_state_file_is_in_use_while_a_gateway_runs_and_over_a_reload(
    fake_systemd: FakeSystemd, configure: Configure, tmp_path: Path, workers: int
) -> None:
    configure(server={"workers": workers})
    assert not in_use(tmp_path / "fitten.json")
    service = await fake_systemd.start()
    assert in_use(tmp_path / "fitten.json")
    await fake_systemd.reload(service)
    assert in_use(tmp_path / "fitten.json")
    service.signal(signal.SIGTERM)
    assert await service.exit_status() == 0
    assert not in_use(tmp_path / "fitten.json")
    assert "state_file_in_use" not in service.raw


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_gateway_that_was_killed_does_not_use_its_state_file(
    fake_systemd: FakeSystemd, configure: Configure, tmp_path: Path, workers: int
) -> None:
    configure(server={"workers": workers})
    service = await fake_systemd.start()
    service.signal(signal.SIGKILL)
    await service.exit_status()
    await eventually(lambda: not in_use(tmp_path / "fitten.json"))


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_reload_with_another_state_file_uses_that_one(
    fake_systemd: FakeSystemd, configure: Configure, tmp_path: Path, workers: int
) -> None:
    configure(server={"workers": workers})
    service = await fake_systemd.start()
    other = tmp_path / "other" / "fitten.json"
    configure(server={"workers": workers}, fitten={"state_file": str(other)})
    await fake_systemd.reload(service)
    assert in_use(other)
    assert not in_use(tmp_path / "fitten.json")


async def test_a_gateway_whose_state_file_is_in_use_serves_and_logs_a_warning(
    fake_systemd: FakeSystemd, configure: Configure, tmp_path: Path
) -> None:
    with StateLock() as other:
        other.take(tmp_path / "fitten.json")
        service = await fake_systemd.start()
    line = await service.event("state_file_in_use")
    assert (line["level"], line["file"]) == ("warning", str(tmp_path / "fitten.json"))
    assert in_use(tmp_path / "fitten.json")


async def test_a_gateway_that_cannot_lock_its_state_file_serves(
    fake_systemd: FakeSystemd, configure: Configure, tmp_path: Path
) -> None:
    (tmp_path / "fitten.json.lock").mkdir()
    service = await fake_systemd.start()
    line = await service.event("state_file_not_locked")
    assert (line["level"], line["reason"]) == ("info", "Is a directory")
