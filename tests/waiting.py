"""How long a test waits for what must happen. Standard library only, for every environment.

No test measures how fast something is: a loaded machine is slow. A test that shows that one
event ends a wait, and not a time limit, sets that limit to NEVER.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

LONGEST_WAIT = 60.0  # seconds; only a test that fails waits so long
NEVER = 3600.0  # seconds; a limit that no test reaches


async def eventually(happened: Callable[[], Any], *, within: float = LONGEST_WAIT) -> Any:
    """Return the first true result; try every few milliseconds, fail if none comes."""
    async with asyncio.timeout(within):
        while True:
            if result := happened():
                return result
            await asyncio.sleep(0.003)


async def eventually_awaited(
    ask: Callable[[], Awaitable[Any]], *, within: float = LONGEST_WAIT
) -> Any:
    """Return the first true result of what must be awaited, as `eventually` does."""
    async with asyncio.timeout(within):
        while True:
            if result := await ask():
                return result
            await asyncio.sleep(0.003)
