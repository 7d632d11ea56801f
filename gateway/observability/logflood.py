"""Libraries that say one thing thousands of times a second are heard a few times."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

_HEARD = 5  # of a kind
_WITHIN = 10.0  # seconds
_KINDS = 256


class Flood(logging.Filter):
    """Lets the first few records of a kind pass within some seconds.

    With no descriptor left, asyncio logs a traceback for each connection that it cannot take
    and tries again at once. A kind is a logger and a text before its values are filled in.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._kinds: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is heard."""
        kind = record.name, str(record.msg)[:200]
        now = self._clock()
        since, count = self._kinds.get(kind, (now, 0))
        if now - since >= _WITHIN:
            since, count = now, 0
        if kind not in self._kinds and len(self._kinds) >= _KINDS:
            self._kinds.clear()
        self._kinds[kind] = since, count + 1
        return count < _HEARD
