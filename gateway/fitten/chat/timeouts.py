"""Enforces the time limits of an answer and sends its keep-alives, with one timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from gateway.config.settings import TimeoutSettings
from gateway.errors import GatewayError, UpstreamTimeout
from gateway.fitten.deadline import Deadline
from gateway.generation.pieces import Sink


class AnswerTimeouts:
    """Watches the time of one answer, from its creation until `close`.

    timeouts: the limits for the first piece, the next piece and the whole answer.
    sink: gets the keep-alives that are due while no piece comes.
    expire: called once with the error, when a limit has passed.

    deadline: the limit for the first piece. Until the answer is open, the failover enforces it.

    A piece costs one call of the clock. The timer is set again only after it has fired.
    """

    def __init__(
        self,
        timeouts: TimeoutSettings,
        sink: Sink,
        expire: Callable[[GatewayError], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeouts = timeouts
        self._keep_alive: Callable[[], Coroutine[Any, Any, None]] = sink.keep_alive
        self._interval = sink.interval
        self._expire = expire
        self._sending: asyncio.Future[None] | None = None  # the keep-alive in progress
        now = self._loop.time()
        self.deadline = Deadline(now + timeouts.first_piece)
        self._next_limit = self.deadline.at
        self._end = now + timeouts.answer
        self._next_keep_alive = now + sink.grace
        # The longest wait of the timer. A piece does not set the timer, but it can set a limit
        # that is only this far away.
        self._max_wait = min(timeouts.between_pieces, sink.interval)
        self._timer = self._loop.call_at(self._next_check(now), self._check)

    def note_piece(self) -> None:
        """Restart the limit for the next piece and the wait for a keep-alive: a piece has come."""
        now = self._loop.time()
        self._next_limit = now + self._timeouts.between_pieces
        self._next_keep_alive = now + self._interval

    def note_held_text(self) -> None:
        """Restart the limit for the next piece only: text came that cannot be sent yet.

        Fitten still sends, but the client gets nothing, so keep-alives are still sent.
        """
        self._next_limit = self._loop.time() + self._timeouts.between_pieces

    async def close(self) -> None:
        """Stop the timer and wait until a keep-alive in progress has been cancelled."""
        self._timer.cancel()
        if self._sending is not None and not self._sending.done():
            self._sending.cancel()
            await asyncio.wait([self._sending])
        # Breaks the reference cycle with the answer. The garbage collector runs rarely, and
        # thousands of answers would wait for it.
        self._expire = _ignore

    def _check(self) -> None:
        now = self._loop.time()
        if now >= self._end:
            self._expire(
                UpstreamTimeout("Fitten's answer took longer than fitten.timeouts.answer allows.")
            )
            return
        if now >= self._next_limit:
            self._expire(UpstreamTimeout("Fitten sent nothing for too long; please try again."))
            return
        if now >= self._next_keep_alive:
            self._next_keep_alive = now + self._interval
            if self._sending is None or self._sending.done():
                self._sending = asyncio.ensure_future(self._keep_alive())
                self._sending.add_done_callback(_retrieve_exception)
        self._timer = self._loop.call_at(self._next_check(now), self._check)

    def _next_check(self, now: float) -> float:
        return min(self._next_limit, self._next_keep_alive, self._end, now + self._max_wait)


def _retrieve_exception(sending: asyncio.Future[None]) -> None:
    """Keep asyncio from reporting a failed keep-alive.

    It fails when the client is gone, and then sending the next piece fails too.
    """
    if not sending.cancelled():
        sending.exception()


def _ignore(_: GatewayError) -> None:
    """Do nothing: the answer has ended."""
