"""A connection to Fitten that fails says what failed, without an address or a URL."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config.settings import AccountSettings, FittenSettings, TimeoutSettings
from gateway.errors import GatewayError
from gateway.fitten.client import FittenClient
from gateway.options import Secret

PEM = Path(__file__).parents[3] / "faults" / "untrusted.pem"


async def detail(url: str, **settings: Any) -> str | None:
    """Return what failed when the gateway logs in there."""
    account = AccountSettings("demo_user", Secret("correct horse"))
    timeouts = TimeoutSettings(connect=5.0, call=5.0)
    client = FittenClient(
        FittenSettings(accounts=(account,), base_url=url, timeouts=timeouts, **settings)
    )
    async with client.open():
        with pytest.raises(GatewayError) as caught:
            await client.login("demo_user", "correct horse")
    assert url not in caught.value.message
    return caught.value.detail


def closed_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


Serving = Any


@pytest.fixture
async def serving() -> AsyncIterator[Serving]:
    """Return a function that answers every connection with these bytes, and returns the port."""
    servers = []

    async def start(answer: bytes, tls: ssl.SSLContext | None = None) -> int:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1000)
            writer.write(answer)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
        servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    yield start
    for server in servers:
        server.close()


async def test_a_name_that_does_not_exist() -> None:
    assert await detail("http://fitten.invalid") in ("name not found", "name cannot be looked up")


async def test_a_port_that_nobody_listens_on() -> None:
    assert await detail(f"http://127.0.0.1:{closed_port()}") == "Connection refused"


async def test_a_certificate_that_is_not_trusted(serving: Serving) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(PEM)
    found = await detail(f"https://127.0.0.1:{await serving(b'', tls)}") or ""
    assert found.startswith("TLS: ")
    assert "certificate" in found


async def test_a_server_that_speaks_no_tls(serving: Serving) -> None:
    found = await detail(f"https://127.0.0.1:{await serving(b'HTTP/1.1 400 No' + b'.' * 50)}")
    assert (found or "").startswith("TLS: ")


async def test_a_proxy_that_cannot_be_reached() -> None:
    proxy = Secret(f"http://127.0.0.1:{closed_port()}")
    assert await detail("http://fitten.invalid", proxy=proxy) == "proxy: Connection refused"


async def test_a_proxy_whose_name_does_not_exist() -> None:
    found = await detail("http://fitten.invalid", proxy=Secret("http://proxy.invalid:3128"))
    assert found in ("proxy: name not found", "proxy: name cannot be looked up")


async def test_a_proxy_that_wants_a_password(serving: Serving) -> None:
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    proxy = Secret(f"http://127.0.0.1:{await serving(refusal)}")
    assert await detail("https://fitten.invalid", proxy=proxy) == "proxy: status 407"


async def test_a_server_that_closes_without_an_answer(serving: Serving) -> None:
    assert await detail(f"http://127.0.0.1:{await serving(b'')}") in (
        "closed without an answer",
        "Connection reset by peer",
    )
