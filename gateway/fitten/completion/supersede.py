"""Of several completions of one caller and one file, only the newest is worth its time."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.errors import Superseded

CompletionKey = tuple[str | None, str]  # a caller and a file of theirs


class NewestCompletions:
    """The newest completion of each place; who is not the newest any more is ended."""

    def __init__(self) -> None:
        self._current: dict[CompletionKey, ActiveCompletion] = {}

    def track(self, key: CompletionKey, limit: float) -> ActiveCompletion:
        """The time of one completion, at most so many seconds; to be entered once."""
        return ActiveCompletion(self, key, limit)

    def begin(self, active: ActiveCompletion) -> None:
        """It is the newest from now on."""
        older = self._current.get(active.key)
        self._current[active.key] = active
        if older is not None:
            older.end()

    def over(self, active: ActiveCompletion) -> None:
        """It is done, whether it is the newest or not."""
        if self._current.get(active.key) is active:
            del self._current[active.key]


class ActiveCompletion:
    """The time in which one completion is the newest of its key, within a limit.

    Leaving raises Superseded if a newer one ended it, TimeoutError if the time is up.
    """

    def __init__(
        self, newest_completions: NewestCompletions, key: CompletionKey, limit: float
    ) -> None:
        self.key = key
        self._newest = newest_completions
        self._clock = asyncio.timeout(limit)
        self._superseded = False

    async def __aenter__(self) -> None:
        await self._clock.__aenter__()
        self._newest.begin(self)

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._newest.over(self)
        try:
            await self._clock.__aexit__(kind, error, trace)
        except TimeoutError:
            if self._superseded:
                raise Superseded(
                    "A newer completion of the same file has taken this one's key."
                ) from None
            raise

    def end(self) -> None:
        """A newer one has come."""
        self._superseded = True
        self._clock.reschedule(asyncio.get_running_loop().time())
