"""Fixtures that the tests of the HTTP API share beyond a running gateway."""

from __future__ import annotations

import io
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, closing
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from emulator import EmulatedAccount, Emulator
from gateway.config.settings import LogSettings
from gateway.observability.logging import configure_logging
from gateway.redaction import Redactor
from tests import support
from tests.integration.peer import Peer
from tests.support import Gateway

Connect = Callable[..., Awaitable[Peer]]
WrittenLog = Callable[[LogSettings], Callable[[], str]]

# What depends on how the bytes of an answer arrive is tested with both values of `chat_client`.
_TWICE = {
    "test_answer_cut",
    "test_disconnect",
    "test_golden",
    "test_golden_responses",
    "test_golden_messages",
    "test_golden_ollama",
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
def written_log() -> Iterator[WrittenLog]:
    """Begin to log as the gateway does: `read = written_log(settings)`; `read()` is the text."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    with ExitStack() as stack:

        def begin(settings: LogSettings) -> Callable[[], str]:
            outputs = stack.enter_context(closing(configure_logging(settings, Redactor(), stream)))

            def read() -> str:
                outputs.flush()
                return stream.getvalue()

            return read

        try:
            yield begin
        finally:
            root.handlers = handlers
            root.setLevel(level)
            structlog.reset_defaults()


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
