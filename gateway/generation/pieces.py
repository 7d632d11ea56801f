"""Pieces of an answer on their way from the upstream to the caller."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

FinishReason = Literal["stop", "length", "tool_calls"]


# A piece of an answer: its kind and its text, never empty. A plain tuple, because there
# is one for every few characters of every answer. A "call" begins a call and its text is
# the tool's name; "arguments" continue the JSON of the call begun last. A "choice" begins
# the answer to the next of several prompts; its text is that one's number.
Kind = Literal["content", "reasoning", "call", "arguments", "choice"]


Piece = tuple[Kind, str]


@dataclass(frozen=True, slots=True)
class Silence:
    """After how many seconds without a piece a sign is wanted, first `grace`, then `interval`,
    and what gives it. A sign never waits for a piece and is never given twice at once."""

    grace: float
    interval: float
    sign: Callable[[], Coroutine[Any, Any, None]]


# Offered a batch, it says whether it took it.
Sink = Callable[[Sequence[Piece]], bool]


class Answer(Protocol):
    """The batches of one answer; `ended` says that the one in hand is the last.

    direct: where set, it is offered a batch in the moment it arrives, while the iteration
        waits; what it takes (True) does not come by the iteration. So a piece wakes no task.
    Leaving the context stops the upstream.
    """

    ended: bool
    direct: Sink | None

    async def __aenter__(self) -> Answer: ...

    async def __aexit__(self, *_: object) -> None: ...

    def __aiter__(self) -> Answer: ...

    async def __anext__(self) -> Sequence[Piece]: ...
