"""One emulator and one gateway for all tests here, and Ollama's client for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from tests.clients.sdk.support import FittenProcess, running_emulator, running_gateway
from tests.hanging import limit_waits as pytest_collection_modifyitems  # noqa: F401
from tests.waiting import LONGEST_WAIT

# The library is in an environment of its own; elsewhere there is nothing to collect.
collect_ignore = [] if find_spec("ollama") else ["test_ollama.py"]

KEY = "sdk-key-0123456789"
PATH_KEY = "path-key-0123456789"
BEARER = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="session")
def fitten(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FittenProcess]:
    with running_emulator(tmp_path_factory.mktemp("emulator")) as running:
        yield running


@pytest.fixture(scope="session")
def host(fitten: FittenProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a gateway as this client wants it, with keep-alives after a moment."""
    with running_gateway(
        fitten,
        tmp_path_factory.mktemp("gateway"),
        keys=[KEY],
        requests_per_minute=10_000,
        path_keys=[PATH_KEY],
        stream={"grace": 0.05, "keep_alive": 0.05},
    ) as running:
        yield running.base_url.removesuffix("/v1")


@pytest.fixture(scope="session")
def client(host: str) -> Iterator[Any]:
    from ollama import Client

    with Client(host=host, headers=BEARER, timeout=LONGEST_WAIT) as client:
        yield client


@pytest.fixture
async def async_client(host: str) -> AsyncIterator[Any]:
    from ollama import AsyncClient

    async with AsyncClient(host=host, headers=BEARER, timeout=LONGEST_WAIT) as client:
        yield client
