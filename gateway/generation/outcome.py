"""Records what becomes of a request: token counts, times, how it ended."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from gateway.generation.model import Model
from gateway.generation.pieces import FinishReason
from gateway.generation.request import GenerationRequest


@dataclass(frozen=True, slots=True)
class Usage:
    """Holds token counts. `estimated`: the upstream gave none, so they are a guess."""

    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int = 0
    estimated: bool = False


@dataclass(slots=True, eq=False)
class Generation:
    """Records a request and what becomes of it; the request log reads it at the end.

    caller: the name of the API key; None when no key was asked for.
    started, first_piece: times of the monotonic clock, in seconds.
    finish_reasons: one for each fill, once the answer is whole.
    end: "complete", or the code of the error that ended it ("client_closed_request" when the
        client left); None while it runs.
    format_missed: the answer is whole, but does not fit the wanted response format.
    account: the upstream's account that served it last; for logs, never for clients.
    queued: seconds spent in the queue for a slot.
    """

    request: GenerationRequest
    model: Model
    caller: str | None = None
    started: float = field(default_factory=time.monotonic)
    first_piece: float | None = None
    usage: Usage | None = None
    finish_reason: FinishReason | None = None
    finish_reasons: tuple[FinishReason, ...] = ()
    end: str | None = None
    bytes_sent: int = 0
    format_missed: bool = False
    account: str | None = None
    queued: float = 0.0

    @property
    def model_name(self) -> str:
        """Return the model's name in answers: the name that the client sent, else the id."""
        return self.request.model or self.model.id
