"""Limits the work in one iteration of the event loop, which gateway and tests share.

Seconds depend on the machine. What is counted does not: the calls of functions, and the most
memory that was in use, which bounds what a single call in C can make out of what it is given.
"""

from __future__ import annotations

import asyncio
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_MB = 1024 * 1024


@contextmanager
def never_blocked(*, calls: int = 400_000, memory: int = 128 * _MB) -> Iterator[None]:
    """Fail when one iteration of the loop made more calls, or more bytes were in use, than these.

    As many calls as are allowed take about 50 ms on a usual machine. A body of 20 MB that was
    parsed or searched value by value would pass the bounds several times over.
    """
    called = most = 0
    loop = asyncio.get_running_loop()
    following: asyncio.Handle

    def seen(_: FrameType, event: str, __: Any) -> None:
        nonlocal called
        called += event in ("call", "c_call")

    def iteration() -> None:
        nonlocal called, most, following
        most, called = max(most, called), 0
        following = loop.call_soon(iteration)

    following = loop.call_soon(iteration)
    tracemalloc.start()
    sys.setprofile(seen)
    try:
        yield
    finally:
        sys.setprofile(None)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        following.cancel()
    assert max(most, called) < calls, (most, called)
    assert peak < memory
