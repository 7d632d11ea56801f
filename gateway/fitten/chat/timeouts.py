"""One timer for an answer's silences and time limits, however many pieces come."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from gateway.config.settings import TimeoutSettings
from gateway.errors import GatewayError, UpstreamTimeout
from gateway.generation.pieces import Silence


class AnswerTimeouts:
    """Looks after one answer, from its making until `close`.

    Calls `expire` once, with what to tell, when the first piece, the next one, or all of the
    answer takes longer than `timeouts` allow; gives the signs that `silence` asks for. A
    piece costs one look at the clock: the timer is set anew only when it has gone off.
    """

    def __init__(
        self,
        timeouts: TimeoutSettings,
        silence: Silence | None,
        expire: Callable[[GatewayError], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeouts = timeouts
        self._silence = silence
        self._expire = expire
        self._sign: asyncio.Future[None] | None = None
        now = self._loop.time()
        self._deadline = now + timeouts.first_piece
        self._end = now + timeouts.answer
        self._next_sign = now + silence.grace if silence else math.inf
        # A piece may bring a limit nearer than the timer is set; never by more than this.
        self._step = timeouts.between_pieces
        if silence is not None:
            self._step = min(self._step, silence.interval)
        self._timer = self._loop.call_at(self._next_look(now), self._look)

    def piece(self) -> None:
        """A piece has come."""
        now = self._loop.time()
        self._deadline = now + self._timeouts.between_pieces
        if self._silence is not None:
            self._next_sign = now + self._silence.interval

    def held(self) -> None:
        """Text has come that cannot go out yet: the upstream is not silent, the answer is."""
        self._deadline = self._loop.time() + self._timeouts.between_pieces

    async def close(self) -> None:
        """Give no more signs; one under way is ended first."""
        self._timer.cancel()
        if self._sign is not None and not self._sign.done():
            self._sign.cancel()
            await asyncio.wait([self._sign])
        # The answer holds this and this the answer: left to the collector, which comes by
        # rarely, thousands of answers would wait for it.
        self._expire = _nobody
        self._silence = None

    def _look(self) -> None:
        now = self._loop.time()
        if now >= self._end:
            self._expire(
                UpstreamTimeout("Fitten's answer took longer than fitten.timeouts.answer allows.")
            )
            return
        if now >= self._deadline:
            self._expire(UpstreamTimeout("Fitten fell silent; please try again."))
            return
        if self._silence is not None and now >= self._next_sign:
            self._next_sign = now + self._silence.interval
            if self._sign is None or self._sign.done():
                self._sign = asyncio.ensure_future(self._silence.sign())
                self._sign.add_done_callback(_seen)
        self._timer = self._loop.call_at(self._next_look(now), self._look)

    def _next_look(self, now: float) -> float:
        return min(self._deadline, self._next_sign, self._end, now + self._step)


def _seen(sign: asyncio.Future[None]) -> None:
    """A sign that fails finds the caller gone; whoever sends the next piece finds so too."""
    if not sign.cancelled():
        sign.exception()


def _nobody(_: GatewayError) -> None:
    """The answer has ended."""
