"""A running emulator, and a caller of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from emulator import Emulator
from tests.emulator.support import Caller


@pytest.fixture
async def emu() -> AsyncIterator[Emulator]:
    async with Emulator(slow=0.1) as emulator:
        yield emulator


@pytest.fixture
async def caller(emu: Emulator) -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession() as session:
        yield Caller(emu.url, session)


@pytest.fixture
async def member(caller: Caller) -> Caller:
    """A caller who is logged in."""
    await caller.login()
    return caller
