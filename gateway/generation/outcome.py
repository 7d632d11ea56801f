"""What became of a request: usage, times, how it ended."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from gateway.generation.model import Model
from gateway.generation.pieces import FinishReason
from gateway.generation.request import GenerationRequest


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens. `estimated` says that the upstream gave no count and we guessed."""

    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int = 0
    estimated: bool = False


@dataclass(slots=True, eq=False)
class Generation:
    """What is becoming of a request; written as it happens, read by the request log.

    end: "complete", or the code of the error that ended it ("client_closed_request"
    when the caller left); None while it runs.
    caller: the name of the API key in use, where one was asked for.
    format_missed: the answer is whole, but not of the form that was wanted.
    finish_reasons: of each fill, once the answer is whole.
    account: the upstream's account that served it last; for logs, never for callers.
    queued: seconds spent in line for an account.
    Times are of the monotonic clock, in seconds.
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
        """The name the caller sees: their own word for the model, else its id."""
        return self.request.model or self.model.id
