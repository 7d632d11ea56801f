from __future__ import annotations

import errno
import os
import socket
import stat
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
import structlog

from gateway.admin.socket_address import socket_address
from gateway.config.settings import Config, ConfigError
from gateway.options import Secret
from gateway.server.admin_listener import AdminListener, open_unix_socket
from tests.integration.admin.support import (
    BASE,
    ROOT_KEY,
    NodeDouble,
    running_admin,
    settings,
)


def test_the_socket_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "admin.sock"
    with open_unix_socket(path):
        mode = path.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert os.listdir(path.parent) == ["admin.sock"]


def test_a_socket_that_a_former_process_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    open_unix_socket(path).close()
    assert path.exists()
    with open_unix_socket(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_socket_on_which_somebody_listens_is_not(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with open_unix_socket(path):
        before = path.stat().st_ino
        with pytest.raises(OSError, match="another gateway") as caught:
            open_unix_socket(path)
        assert caught.value.errno == errno.EADDRINUSE
        assert path.stat().st_ino == before


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    path.write_text("mine", "utf-8")
    with pytest.raises(OSError, match="no socket"):
        open_unix_socket(path)
    assert path.read_text("utf-8") == "mine"


def test_a_path_may_be_longer_than_the_system_takes(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    path = folder / "admin.sock"
    with (
        open_unix_socket(path),
        socket.socket(socket.AF_UNIX) as client,
        socket_address(path) as address,
    ):
        client.connect(address)
    with (
        pytest.raises(OSError, match="refused"),
        socket.socket(socket.AF_UNIX) as client,
        socket_address(path) as address,
    ):
        client.connect(address)


async def test_a_stop_removes_the_socket(tmp_path: Path) -> None:
    config = settings(tmp_path)
    async with running_admin(config):
        assert config.admin_socket.exists()
    assert not config.admin_socket.exists()


async def test_without_a_tcp_listener_the_socket_is_there(tmp_path: Path) -> None:
    config = settings(tmp_path, admin={})
    async with running_admin(config) as admin:
        assert admin.listener.url is None
        assert (await admin.call("GET", "/session", unix=True)).status == 200


async def test_without_its_socket_the_gateway_serves_and_the_log_says_why(tmp_path: Path) -> None:
    config = settings(tmp_path)
    config.admin_socket.parent.mkdir()
    with open_unix_socket(config.admin_socket), structlog.testing.capture_logs() as lines:
        async with running_admin(config) as admin:
            assert (await admin.call("GET", "/session")).status == 200
        assert config.admin_socket.exists()
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == [
        "admin_socket_failed"
    ]


def test_an_address_in_use_ends_the_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = settings(tmp_path, admin={"listen": f"127.0.0.1:{port}"})
        with pytest.raises(OSError, match=r"[Aa]ddress already in use"):
            AdminListener(config).open()
    assert not config.admin_socket.exists()


def with_listen(config: Config, listen: str | None) -> Config:
    return replace(config, admin=replace(config.admin, listen=listen))


async def test_a_reload_opens_moves_and_closes_the_tcp_listener(tmp_path: Path) -> None:
    config = settings(tmp_path, admin={"keys": [{"name": "root", "key": ROOT_KEY}]})
    async with running_admin(config) as admin:
        await admin.reload(with_listen(config, "127.0.0.1:0"))
        first = admin.url
        assert (await admin.call("GET", "/session")).status == 200
        await admin.reload(with_listen(config, "localhost:0"))
        assert admin.url != first
        assert (await admin.call("GET", "/session")).status == 200
        with pytest.raises(aiohttp.ClientConnectionError):
            await admin.http.get(f"{first}{BASE}/session")
        last = admin.url
        await admin.reload(config)
        assert admin.listener.url is None
        with pytest.raises(aiohttp.ClientConnectionError):
            await admin.http.get(f"{last}{BASE}/session")
        assert (await admin.call("GET", "/session", unix=True)).status == 200


async def test_a_reload_that_fails_leaves_the_listener(tmp_path: Path) -> None:
    config = settings(tmp_path)
    async with running_admin(config) as admin:
        before = admin.url
        with socket.create_server(("127.0.0.1", 0)) as taken:
            other = with_listen(config, f"127.0.0.1:{taken.getsockname()[1]}")
            with pytest.raises(ConfigError) as caught, admin.listener.prepared(other):
                raise AssertionError("the context was entered")
        assert caught.value.mistakes == [
            f"admin.listen: {other.admin.listen} cannot be listened on: Address already in use"
        ]
        with pytest.raises(RuntimeError), admin.listener.prepared(with_listen(config, "[::1]:0")):
            raise RuntimeError
        assert admin.url == before
        assert (await admin.call("GET", "/session")).status == 200


async def test_a_reload_changes_the_keys_and_ends_sessions_of_keys_that_went(
    tmp_path: Path,
) -> None:
    config = settings(tmp_path)
    async with running_admin(config) as admin:
        begun = await admin.call("POST", "/session", {"key": ROOT_KEY}, key=None)
        cookie = {"Cookie": begun.headers["Set-Cookie"].split(";")[0]}
        keys = tuple(key for key in config.admin.keys if key.name != "root")
        await admin.reload(replace(config, admin=replace(config.admin, keys=keys)))
        assert (await admin.call("GET", "/session")).status == 401
        assert (await admin.call("GET", "/session", key=None, headers=cookie)).status == 401


async def test_a_session_ends_when_its_key_in_the_settings_is_another_one(tmp_path: Path) -> None:
    config = settings(tmp_path)
    async with running_admin(config) as admin:
        begun = await admin.call("POST", "/session", {"key": ROOT_KEY}, key=None)
        cookie = {"Cookie": begun.headers["Set-Cookie"].split(";")[0]}
        lower = tuple(replace(key, role="viewer") for key in config.admin.keys)
        await admin.reload(replace(config, admin=replace(config.admin, keys=lower)))
        assert (await admin.call("GET", "/session", key=None, headers=cookie)).status == 200
        assert (await admin.call("GET", "/audit", key=None, headers=cookie)).status == 403
        other = tuple(replace(key, key=Secret(f"{key.key.value}-2")) for key in config.admin.keys)
        await admin.reload(replace(config, admin=replace(config.admin, keys=other)))
        assert (await admin.call("GET", "/session", key=f"{ROOT_KEY}-2")).status == 200
        assert (await admin.call("GET", "/session", key=None, headers=cookie)).status == 401


async def test_a_stop_ends_what_is_open(tmp_path: Path) -> None:
    config = settings(tmp_path)
    listener = AdminListener(config)
    listener.open()
    await listener.start(NodeDouble(config), None)
    await listener.stop()
    await listener.stop()
    assert not config.admin_socket.exists()
