"""One emulator and two gateways for all tests here, and clients for them."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from openai import AsyncOpenAI, OpenAI

from tests.clients.sdk.support import FittenProcess, SdkGateway, running_emulator, running_gateway
from tests.hanging import limit_waits as pytest_collection_modifyitems  # noqa: F401
from tests.waiting import LONGEST_WAIT

# Its library is in an environment of its own; elsewhere there is nothing to collect.
collect_ignore = [] if find_spec("pydantic_ai") else ["test_agents.py"]

WAIT = LONGEST_WAIT
KEY = "sdk-key-0123456789"
LIMITED_KEYS = [f"limited-key-{number}" for number in range(4)]


@pytest.fixture(autouse=True)
def no_streams_left() -> Iterator[None]:
    """Close what a test left open. Else the garbage collector may close it within httpcore's lock,
    and the client waits for itself for ever."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def fitten(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FittenProcess]:
    with running_emulator(tmp_path_factory.mktemp("emulator")) as running:
        yield running


@pytest.fixture(scope="session")
def gateway(
    fitten: FittenProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SdkGateway]:
    folder = tmp_path_factory.mktemp("gateway")
    with running_gateway(fitten, folder, keys=[KEY], requests_per_minute=10_000) as running:
        yield running


@pytest.fixture(scope="session")
def limited_gateway(
    fitten: FittenProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SdkGateway]:
    """A gateway that grants each key two requests a minute."""
    folder = tmp_path_factory.mktemp("limited")
    with running_gateway(fitten, folder, keys=LIMITED_KEYS, requests_per_minute=2) as running:
        yield running


@pytest.fixture(scope="session")
def _unused_keys() -> Iterator[str]:
    return iter(LIMITED_KEYS)


@pytest.fixture(scope="session")
def client(gateway: SdkGateway) -> Iterator[OpenAI]:
    """A client that repeats nothing by itself; shared, because its TLS context takes long."""
    with OpenAI(base_url=gateway.base_url, api_key=KEY, max_retries=0, timeout=WAIT) as client:
        yield client


@pytest.fixture
def lone_client(fitten: FittenProcess, tmp_path: Path) -> Iterator[OpenAI]:
    """The same client for a gateway of its own, whose account may pause."""
    with (
        running_gateway(fitten, tmp_path, keys=[KEY], requests_per_minute=10_000) as gateway,
        OpenAI(base_url=gateway.base_url, api_key=KEY, max_retries=0, timeout=WAIT) as client,
    ):
        yield client


@pytest.fixture
def quick_client(fitten: FittenProcess, tmp_path: Path) -> Iterator[OpenAI]:
    """The same client for a gateway that soon shows that a request still runs."""
    quick = {"grace": 0.05, "keep_alive": 0.05}
    with (
        running_gateway(
            fitten, tmp_path, keys=[KEY], requests_per_minute=10_000, stream=quick
        ) as gateway,
        OpenAI(base_url=gateway.base_url, api_key=KEY, max_retries=0, timeout=WAIT) as client,
    ):
        yield client


@pytest.fixture
async def async_client(gateway: SdkGateway) -> AsyncIterator[AsyncOpenAI]:
    """The same for asyncio."""
    async with AsyncOpenAI(
        base_url=gateway.base_url, api_key=KEY, max_retries=0, timeout=WAIT
    ) as client:
        yield client


@pytest.fixture
def limited_client(limited_gateway: SdkGateway, _unused_keys: Iterator[str]) -> Iterator[OpenAI]:
    """A client with a key of its own, good for two requests."""
    with OpenAI(
        base_url=limited_gateway.base_url,
        api_key=next(_unused_keys),
        max_retries=0,
        timeout=WAIT,
    ) as client:
        yield client
