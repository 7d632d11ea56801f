"""Limits of callers are exact over several workers."""

from __future__ import annotations

import asyncio

from gateway.store.rate_windows import Window
from tests.unit.workers.support import connected_workers, master_pool

MINUTE = Window(limit=10, seconds=60.0, callers=100)


async def test_requests_are_counted_over_all_workers() -> None:
    async with connected_workers(master_pool(1), 3) as workers:
        asked = [
            workers[number % 3].remote_state.windows.admit("rate_limit", "key alice", MINUTE)
            for number in range(30)
        ]
        admissions = await asyncio.gather(*asked)
        assert sum(admission.admitted for admission in admissions) == 10
        assert max(admission.count for admission in admissions) == 10
        other = await workers[0].remote_state.windows.admit("rate_limit", "key bob", MINUTE)
        assert (other.admitted, other.count) == (True, 1)
        assert 59 < other.first <= 60
