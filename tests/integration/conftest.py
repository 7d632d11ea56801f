"""Fixtures that the tests of the HTTP API share beyond a running gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from structlog.testing import capture_logs

from emulator import EmulatedAccount, Emulator
from tests import support
from tests.integration.peer import Peer
from tests.support import Gateway

Connect = Callable[..., Awaitable[Peer]]

# What depends on how the bytes of an answer arrive is tested with both values of `chat_client`.
_TWICE = {
    "test_answer_cut",
    "test_disconnect",
    "test_golden",
    "test_silence",
    "test_stream_failures",
    "test_upstream_errors",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.module.__name__.rpartition(".")[2] in _TWICE:
        metafunc.parametrize("chat_client", ["lean", "aiohttp"], indirect=True)


@pytest.fixture(autouse=True)
def chat_client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set `fitten.chat_client` of the gateways that a test starts."""
    monkeypatch.setattr(support, "chat_client", getattr(request, "param", "lean"))


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """A Fitten with one account, whose `*_slow` scenarios take a third of a second."""
    async with Emulator(
        accounts=[EmulatedAccount("demo_user", "correct horse")], slow=0.3
    ) as running:
        yield running


@pytest.fixture
def log_events() -> Iterator[list[Any]]:
    """Every log event of the gateway, as a dictionary."""
    with capture_logs() as events:
        yield events


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Opens bare connections, as `Peer.connect`, and closes them at the end."""
    async with AsyncExitStack() as stack:

        async def connect(url: str, **options: Any) -> Peer:
            connection = await Peer.connect(url, **options)
            stack.callback(connection.close)
            return connection

        yield connect


@pytest.fixture
async def peer(gateway: Gateway, connect: Connect) -> Peer:
    """A bare connection to the usual gateway."""
    return await connect(gateway.url)
