"""One emulator and two gateways for all tests here, and clients of Anthropic's SDK for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from anthropic import Anthropic, AsyncAnthropic

from tests.clients.sdk.support import FittenProcess, SdkGateway, running_emulator, running_gateway
from tests.hanging import limit_waits as pytest_collection_modifyitems  # noqa: F401
from tests.waiting import LONGEST_WAIT

KEY = "sdk-key-0123456789"


@pytest.fixture(scope="session")
def fitten(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FittenProcess]:
    with running_emulator(tmp_path_factory.mktemp("emulator")) as running:
        yield running


@pytest.fixture(scope="session")
def base_url(fitten: FittenProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a gateway as this SDK wants it: without /v1."""
    folder = tmp_path_factory.mktemp("gateway")
    with running_gateway(fitten, folder, keys=[KEY], requests_per_minute=10_000) as running:
        yield _root(running)


@pytest.fixture(scope="session")
def client(base_url: str) -> Iterator[Anthropic]:
    """A client that repeats nothing by itself; shared, because its TLS context takes long."""
    with Anthropic(base_url=base_url, api_key=KEY, max_retries=0, timeout=LONGEST_WAIT) as client:
        yield client


@pytest.fixture
async def async_client(base_url: str) -> AsyncIterator[AsyncAnthropic]:
    """The same for asyncio, with the key in the other header."""
    async with AsyncAnthropic(
        base_url=base_url, auth_token=KEY, max_retries=0, timeout=LONGEST_WAIT
    ) as client:
        yield client


@pytest.fixture(scope="session")
def limited_client(
    fitten: FittenProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Anthropic]:
    """A client of a gateway that grants two requests a minute."""
    folder = tmp_path_factory.mktemp("limited")
    with (
        running_gateway(fitten, folder, keys=[KEY], requests_per_minute=2) as gateway,
        Anthropic(
            base_url=_root(gateway), api_key=KEY, max_retries=0, timeout=LONGEST_WAIT
        ) as client,
    ):
        yield client


def _root(gateway: SdkGateway) -> str:
    return gateway.base_url.removesuffix("/v1")
