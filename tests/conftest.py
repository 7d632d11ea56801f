"""What the tests share: the emulator and the gateway, on real sockets, in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hypothesis import HealthCheck, settings

from emulator import EmulatedAccount, Emulator
from gateway.aiohttp_internals import forget_middleware_chains
from gateway.server.single_process import tune_memory
from tests.hanging import limit_waits
from tests.support import Gateway, running_gateway

# On a slow machine a first example may take seconds to draw: that is no failure.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

StartGateway = Callable[..., Awaitable[Gateway]]

KINDS = ("unit", "integration", "process", "faults", "chaos", "clients")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark each test with its kind, the folder that it stands in, and limit how long it waits."""
    here = Path(__file__).parent
    for item in items:
        kind = item.path.relative_to(here).parts[0]
        if kind in KINDS:
            item.add_marker(kind)
    limit_waits(config, items)


def pytest_collection_finish() -> None:
    """Tune the memory as `serve` does: modules and tests are then not examined as garbage."""
    tune_memory()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    """Let the test's application go. Else aiohttp keeps that of each of the last 1,024 tests."""
    result = yield
    forget_middleware_chains()
    return result


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run tests on the event loop of the gateway."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """A Fitten with one account."""
    async with Emulator(accounts=[EmulatedAccount("demo_user", "correct horse")]) as running:
        yield running


@pytest.fixture
async def start_gateway(emulator: Emulator, tmp_path: Path) -> AsyncIterator[StartGateway]:
    """Start gateways before the emulator: `await start_gateway(stream={...}, ...)`.

    Keyword arguments are sections of config.yaml that override the usual ones.
    """
    from contextlib import AsyncExitStack

    async with AsyncExitStack() as stack:

        async def start(**sections: Any) -> Gateway:
            return await stack.enter_async_context(
                running_gateway(emulator.url, tmp_path, **sections)
            )

        yield start


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> Gateway:
    """A gateway with the usual settings, before the emulator."""
    return await start_gateway()
