"""Defines the pieces in which an answer passes from the upstream to the client."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

FinishReason = Literal["stop", "length", "tool_calls"]

# The kind of a piece says what its text is, which is never empty:
# "content", "reasoning": a part of the answer, or of the model's thoughts.
# "call": the name of a tool; a tool call begins. "arguments": a part of the JSON arguments
#     of the last call.
# "choice": the number of a prompt, where there are several; its answer begins.
Kind = Literal["content", "reasoning", "call", "arguments", "choice"]

# A plain tuple, because an answer has a piece for every few characters.
Piece = tuple[Kind, str]


@dataclass(frozen=True, slots=True)
class Silence:
    """Sets when the client gets a sign that its request still runs.

    grace: seconds without a piece before the first sign.
    interval: seconds without a piece before each further sign.
    sign: sends it. It runs beside the upstream, and never twice at the same time.
    """

    grace: float
    interval: float
    sign: Callable[[], Coroutine[Any, Any, None]]


# Called with a batch; returns whether it took the batch.
Sink = Callable[[Sequence[Piece]], bool]


class Answer(Protocol):
    """Gives the batches of one answer by iteration, inside its context.

    ended: whether the current batch is the last one.
    direct: a sink, or None. While the iteration waits, the sink is called with each batch as
        it arrives. A batch that it takes is not returned by the iteration, so that a piece
        wakes no task.
    Leaving the context stops the upstream.
    """

    ended: bool
    direct: Sink | None

    async def __aenter__(self) -> Answer: ...

    async def __aexit__(self, *_: object) -> None: ...

    def __aiter__(self) -> Answer: ...

    async def __anext__(self) -> Sequence[Piece]: ...
