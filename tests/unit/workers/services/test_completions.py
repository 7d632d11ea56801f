"""A newer completion ends an older one of the same caller and file, in whichever worker."""

from __future__ import annotations

import asyncio

from gateway.errors import Superseded
from gateway.fitten.completion.supersede import CompletionKey
from gateway.workers.services.composition import MasterState
from tests.unit.workers.support import WorkerConnection, connected_workers, master_pool, settled


async def completing(worker: WorkerConnection, place: CompletionKey, seconds: float = 5.0) -> str:
    """Return how a completion that takes this long ends."""
    try:
        async with worker.newest_completions.track(place, 10.0):
            await asyncio.sleep(seconds)
    except Superseded:
        return "superseded"
    return "done"


async def test_a_newer_completion_ends_an_older_one_in_whichever_worker() -> None:
    state = MasterState()
    async with connected_workers(master_pool(1), 3, state) as (one, two, three):
        place = ("alice", "main.py")
        older = asyncio.create_task(completing(one, place))
        await settled()
        newer = asyncio.create_task(completing(two, place))
        assert await older == "superseded"
        await settled()
        newest = asyncio.create_task(completing(two, place))
        assert await newer == "superseded", "in the same worker too"
        others = [
            asyncio.create_task(completing(three, other, 0.02))
            for other in (("bob", "main.py"), ("alice", "test.py"), (None, "main.py"))
        ]
        assert await asyncio.gather(*others) == ["done"] * 3
        assert not newest.done()
        assert len(state.newest_completions) == 1
        two.close()
        await settled()
        assert not state.newest_completions
        newest.cancel()
        await asyncio.wait([newest])
