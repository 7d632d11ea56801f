"""One emulator and one gateway for all tests here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.frameworks.support import KEY
from tests.clients.sdk.support import FittenProcess, SdkGateway, running_emulator, running_gateway
from tests.hanging import limit_waits as pytest_collection_modifyitems  # noqa: F401


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
