"""An event loop whose clock moves only when it waits: what takes a minute is tested at once."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class VirtualTime(asyncio.SelectorEventLoop):
    """Skips every wait for the clock. A test may increase `now`, as a call that takes long does."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Skipping(self))

    def time(self) -> float:
        return self.now


class _Skipping(selectors.DefaultSelector):
    def __init__(self, loop: VirtualTime) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._loop.now += timeout or 0.0
        return super().select(0)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a test that needs no socket."""
    with asyncio.Runner(loop_factory=VirtualTime) as runner:
        runner.run(main)
