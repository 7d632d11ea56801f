"""Whether the event loop, which the gateway shares with the tests, always comes round in time."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def never_blocked(longest: float = 0.1) -> AsyncIterator[None]:
    """Fails when some step took longer, in seconds of this thread's own work.

    What other processes took from this one is no fault of the gateway's.
    """
    worst = 0.0

    async def watch() -> None:
        nonlocal worst
        while True:
            before, worked = time.monotonic(), time.thread_time()
            await asyncio.sleep(0.005)
            late = time.monotonic() - before - 0.005
            worst = max(worst, min(late, time.thread_time() - worked))

    # As `serve` does; else the garbage of a whole test run is looked through meanwhile.
    gc.collect()
    gc.freeze()
    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()
        gc.unfreeze()
    assert worst < longest
