"""Enforces the time limits of an answer and sends its keep-alives, with one timer."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from gateway.config.settings import TimeoutSettings
from gateway.errors import GatewayError, UpstreamTimeout
from gateway.generation.pieces import Silence


class AnswerTimeouts:
    """Watches the time of one answer, from its creation until `close`.

    timeouts: the limits for the first piece, the next piece and the whole answer.
    silence: describes the signs (keep-alives) to give while no piece comes, or None.
    expire: called once with the error, when a limit has passed.

    A piece costs one call of the clock. The timer is set again only after it has fired.
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
        # The longest wait of the timer. A piece does not set the timer, but it can set a limit
        # that is only this far away.
        self._max_wait = timeouts.between_pieces
        if silence is not None:
            self._max_wait = min(self._max_wait, silence.interval)
        self._timer = self._loop.call_at(self._next_check(now), self._check)

    def note_piece(self) -> None:
        """Restart the limit for the next piece and the wait for a sign: a piece has come."""
        now = self._loop.time()
        self._deadline = now + self._timeouts.between_pieces
        if self._silence is not None:
            self._next_sign = now + self._silence.interval

    def note_held_text(self) -> None:
        """Restart the limit for the next piece only: text came that cannot be sent yet.

        Fitten still sends, but the client gets nothing, so signs are still given.
        """
        self._deadline = self._loop.time() + self._timeouts.between_pieces

    async def close(self) -> None:
        """Stop the timer and wait until a sign in progress has been cancelled."""
        self._timer.cancel()
        if self._sign is not None and not self._sign.done():
            self._sign.cancel()
            await asyncio.wait([self._sign])
        # Breaks the reference cycle with the answer. The garbage collector runs rarely, and
        # thousands of answers would wait for it.
        self._expire = _ignore
        self._silence = None

    def _check(self) -> None:
        now = self._loop.time()
        if now >= self._end:
            self._expire(
                UpstreamTimeout("Fitten's answer took longer than fitten.timeouts.answer allows.")
            )
            return
        if now >= self._deadline:
            self._expire(UpstreamTimeout("Fitten sent nothing for too long; please try again."))
            return
        if self._silence is not None and now >= self._next_sign:
            self._next_sign = now + self._silence.interval
            if self._sign is None or self._sign.done():
                self._sign = asyncio.ensure_future(self._silence.sign())
                self._sign.add_done_callback(_retrieve_exception)
        self._timer = self._loop.call_at(self._next_check(now), self._check)

    def _next_check(self, now: float) -> float:
        return min(self._deadline, self._next_sign, self._end, now + self._max_wait)


def _retrieve_exception(sign: asyncio.Future[None]) -> None:
    """Keep asyncio from reporting a failed sign.

    It fails when the client is gone, and then sending the next piece fails too.
    """
    if not sign.cancelled():
        sign.exception()


def _ignore(_: GatewayError) -> None:
    """Do nothing: the answer has ended."""
