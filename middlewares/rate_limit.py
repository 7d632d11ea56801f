"""Limits how many requests a minute each caller may make."""

from __future__ import annotations

import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Annotated

from aiohttp import web

from gateway import KEY_NAME, RESPONSE_HEADERS, Handler, RateLimited
from gateway.options import Between

_WINDOW = 60.0


class rate_limit:
    """Admits at most `requests_per_minute` in any 60 seconds, per key, or per address
    where no key was asked for. Refused requests do not count.

    requests_per_minute: 1 to 100,000.
    max_callers: how many callers are remembered; beyond it the one longest unseen is
        forgotten, so that a flood of addresses cannot fill the memory.
    """

    # Why not the library `limits`: its moving window is kept on the wall clock, which may
    # jump, and its memory is bounded only by a thread or task that sweeps; its fixed
    # window counts refused requests; both cost more than the deque below needs.

    def __init__(
        self,
        *,
        requests_per_minute: Annotated[int, Between(1, 100_000)],
        max_callers: Annotated[int, Between(1, 10_000_000)] = 10_000,
    ) -> None:
        self._limit = requests_per_minute
        self._max_callers = max_callers
        self._admitted: OrderedDict[str, deque[float]] = OrderedDict()
        self._clock: Callable[[], float] = time.monotonic

    def inherit(self, previous: rate_limit) -> None:
        """A reload must not give every caller another full minute."""
        self._admitted = previous._admitted

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        name = request.get(KEY_NAME)
        caller = f"key {name}" if name is not None else f"address {request.remote}"
        now = self._clock()
        # No await from here to the append: parallel requests cannot slip through together.
        admitted = self._of(caller)
        while admitted and admitted[0] <= now - _WINDOW:
            admitted.popleft()
        refused = len(admitted) >= self._limit
        if not refused:
            admitted.append(now)
        headers = request[RESPONSE_HEADERS]
        headers["x-ratelimit-limit-requests"] = str(self._limit)
        headers["x-ratelimit-remaining-requests"] = str(max(0, self._limit - len(admitted)))
        headers["x-ratelimit-reset-requests"] = duration(admitted[-1] + _WINDOW - now)
        if refused:
            wait = max(admitted[0] + _WINDOW - now, 0.001)
            raise RateLimited(
                f"Rate limit reached: {self._limit} requests per minute. Please try again in "
                f"{math.ceil(wait)}s.",
                retry_after=wait,
            )
        return await handler(request)

    def _of(self, caller: str) -> deque[float]:
        admitted = self._admitted.get(caller)
        if admitted is None:
            while len(self._admitted) >= self._max_callers:
                self._admitted.popitem(last=False)
            admitted = self._admitted[caller] = deque()
        else:
            self._admitted.move_to_end(caller)
        return admitted


def duration(seconds: float) -> str:
    """Seconds as OpenAI's rate-limit headers have them: `120ms`, `1.5s`, `6m0s`."""
    milliseconds = max(0, math.ceil(seconds * 1000))
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    seconds = math.ceil(seconds * 10) / 10
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}m{rest:g}s" if minutes else f"{rest:g}s"
