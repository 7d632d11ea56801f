"""Counts what a failure must not leave behind: slots, queued requests, descriptors."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import Any, NamedTuple

from gateway.app import ACCOUNTS
from tests.support import Gateway


class HeldSlots(NamedTuple):
    """The number of slots in use at all accounts, and of queued requests."""

    chats: int
    small: int
    queued: int


def held_slots(gateway: Gateway) -> HeldSlots:
    """Return the slots in use in the pool of a running gateway."""
    pool: Any = gateway.entrypoint.app[ACCOUNTS].pool
    return HeldSlots(
        sum(account.busy for account in pool.accounts),
        sum(account.completions_busy for account in pool.accounts),
        pool.queue.size,
    )


async def descriptors() -> dict[str, str]:
    """Return every open descriptor. The event loop opens one for itself when it first listens."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    server.close()
    await server.wait_closed()
    await asyncio.sleep(0)
    found = {}
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found[number] = os.readlink(f"/proc/self/fd/{number}")
    return {number: name for number, name in found.items() if not name.startswith("/proc/")}
