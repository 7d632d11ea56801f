"""Listening sockets that are handed over."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

import aiohttp

from tests.process.conftest import Configure, keys, limit
from tests.process.systemd import ROOT, FakeSystemd
from tests.support import KEY, needs

HEADERS = {"Authorization": f"Bearer {KEY}"}


async def test_a_socket_that_is_handed_over_is_served(
    fake_systemd: FakeSystemd, configure: Configure
) -> None:
    service = await fake_systemd.start()
    async with (
        aiohttp.ClientSession(headers=HEADERS) as http,
        http.get(fake_systemd.url + "/v1/models") as response,
    ):
        assert response.status == 200
    assert (await service.event("listening"))["url"] == fake_systemd.url


async def test_a_socket_for_another_process_is_left_alone(
    fake_systemd: FakeSystemd, configure: Configure
) -> None:
    service = await fake_systemd.start(environ={"LISTEN_PID": "1"})
    assert (await service.event("listening"))["url"] != fake_systemd.url


async def test_a_unix_socket_can_be_handed_over(
    fake_systemd: FakeSystemd, configure: Configure, tmp_path: Path
) -> None:
    configure(middlewares=[keys(KEY), limit(60)])
    path = str(tmp_path / "http")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        service = await fake_systemd.start(sockets=listening)
        assert (await service.event("listening"))["url"] == f"unix:{path}"
        connector = aiohttp.UnixConnector(path)
        async with (
            aiohttp.ClientSession(headers=HEADERS, connector=connector) as http,
            http.get("http://gateway/v1/models") as response,
        ):
            assert response.status == 200


async def test_a_descriptor_that_is_no_listening_socket_stops_the_start_with_a_message(
    fake_systemd: FakeSystemd, configure: Configure
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        service = await fake_systemd.start(sockets=datagrams, wait=False)
        assert await service.exit_status() == 1
    assert service.raw.startswith("Cannot start: descriptor 3, which systemd passed, is not a l")


async def test_a_socket_open_to_the_network_needs_a_key(
    fake_systemd: FakeSystemd, configure: Configure
) -> None:
    """Although `server.host` is loopback: what counts is the socket."""
    configure(middlewares=[limit(60)])
    with socket.create_server(("0.0.0.0", 0)) as listening:
        service = await fake_systemd.start(sockets=listening, wait=False)
        assert await service.exit_status() == 2
    assert "can be reached from other machines" in service.raw
    assert "Traceback" not in service.raw


@needs("systemd-socket-activate")
async def test_the_first_connection_can_start_the_gateway(
    configure: Configure, tmp_path: Path
) -> None:
    """Started by systemd-socket-activate."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "gateway", "serve", "--config", str(tmp_path / "config.yaml")]
    process = await asyncio.create_subprocess_exec(
        *("systemd-socket-activate", "-E", "PYTHONPATH", "-l", address, *command),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        assert b"Listening on" in await process.stderr.readline()
        async with (
            aiohttp.ClientSession(headers=HEADERS) as http,
            http.get(f"http://{address}/v1/models") as response,
        ):
            assert response.status == 200
    finally:
        process.terminate()
        await process.communicate()
        process._transport.close()  # type: ignore[attr-defined]  # else it warns
    assert process.returncode == 0
