"""A running emulator, and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from emulator import Emulator
from tests.unit.emulator.support import EmulatorClient


@pytest.fixture
async def emu() -> AsyncIterator[Emulator]:
    async with Emulator(slow=0.1) as emulator:
        yield emulator


@pytest.fixture
async def client(emu: Emulator) -> AsyncIterator[EmulatorClient]:
    async with aiohttp.ClientSession() as session:
        yield EmulatorClient(emu.url, session)


@pytest.fixture
async def member(client: EmulatorClient) -> EmulatorClient:
    """A client that is logged in."""
    await client.login()
    return client
