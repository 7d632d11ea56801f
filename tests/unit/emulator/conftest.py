"""A running emulator, and a caller of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from emulator import Emulator
from tests.unit.emulator.support import EmulatorCaller


@pytest.fixture
async def emu() -> AsyncIterator[Emulator]:
    async with Emulator(slow=0.1) as emulator:
        yield emulator


@pytest.fixture
async def caller(emu: Emulator) -> AsyncIterator[EmulatorCaller]:
    async with aiohttp.ClientSession() as session:
        yield EmulatorCaller(emu.url, session)


@pytest.fixture
async def member(caller: EmulatorCaller) -> EmulatorCaller:
    """A caller who is logged in."""
    await caller.login()
    return caller
