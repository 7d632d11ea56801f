"""Ends a completion when a newer one of the same caller and file begins."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.errors import Superseded

CompletionKey = tuple[str | None, str]  # the caller and the name of its file


class NewestCompletions:
    """Holds the newest completion of each key and ends the older one."""

    def __init__(self) -> None:
        self._current: dict[CompletionKey, ActiveCompletion] = {}

    def track(self, key: CompletionKey, limit: float) -> ActiveCompletion:
        """Return the context in which one completion runs; it is entered once.

        limit: the most seconds that the completion may take.
        """
        return ActiveCompletion(self, key, limit)

    def begin(self, active: ActiveCompletion) -> None:
        """Make this the newest completion of its key and end the older one."""
        older = self._current.get(active.key)
        self._current[active.key] = active
        if older is not None:
            older.end()

    def over(self, active: ActiveCompletion) -> None:
        """Forget a completion that is done, if it is still the newest."""
        if self._current.get(active.key) is active:
            del self._current[active.key]


class ActiveCompletion:
    """Limits the time of one completion: up to a newer one of its key, or to the limit.

    Leaving the context raises Superseded if a newer one ended it, or TimeoutError if the time
    is up.
    """

    def __init__(
        self, newest_completions: NewestCompletions, key: CompletionKey, limit: float
    ) -> None:
        self.key = key
        self._newest = newest_completions
        self._timeout = asyncio.timeout(limit)
        self._superseded = False

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()
        self._newest.begin(self)

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._newest.over(self)
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            if self._superseded:
                raise Superseded(
                    "A newer completion of the same file has replaced this one."
                ) from None
            raise

    def end(self) -> None:
        """Cancel this completion, because a newer one has begun."""
        self._superseded = True
        self._timeout.reschedule(asyncio.get_running_loop().time())
