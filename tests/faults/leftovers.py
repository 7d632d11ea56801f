"""What must not be left when a failure has been told: tasks, slots, descriptors."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import Any, NamedTuple

from gateway.app import ACCOUNTS
from tests.support import Gateway


class Held(NamedTuple):
    """The slots of all accounts that are taken, and who waits for one."""

    chats: int
    small: int
    queued: int


def held(gateway: Gateway) -> Held:
    """How the pool of a running gateway is."""
    pool: Any = gateway.entrypoint.app[ACCOUNTS].pool
    return Held(
        sum(account.busy for account in pool.accounts),
        sum(account.completions_busy for account in pool.accounts),
        pool.queue.size,
    )


async def descriptors() -> dict[str, str]:
    """Every open descriptor. The loop opens one for itself when it first listens."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    server.close()
    await server.wait_closed()
    await asyncio.sleep(0)
    found = {}
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found[number] = os.readlink(f"/proc/self/fd/{number}")
    return {number: name for number, name in found.items() if not name.startswith("/proc/")}
