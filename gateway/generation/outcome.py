"""Records what becomes of a request; only the methods of `Outcome` write the record."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

from gateway.errors import Cause, GatewayError
from gateway.generation.pieces import FinishReason

CLIENT_GONE: Cause = "client_closed_request"
_CLIENT_GONE_STATUS = 499  # as nginx logs it; no client sees it


@dataclass(frozen=True, slots=True)
class Usage:
    """Holds token counts. `estimated`: the upstream gave none, so they are a guess."""

    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int = 0
    estimated: bool = False

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.estimated or other.estimated,
        )


@dataclass(frozen=True, slots=True)
class AnswerResult:
    """Describes an answer of the upstream, as far as it came.

    usage: None when the upstream was not asked.
    finish_reasons: one for each fill, else one; empty when the answer is not whole.
    stop_sequence: the stop string of the client that ended the answer.
    format_missed: the answer is whole, but does not fit the wanted response format.
    format_unchecked: whether it fits was not checked, since that would take too long.
    arguments_unchecked: a call's arguments were not converted, for the same reason.
    repaired: what was wrong with an answer with tools that was asked for once more: it was "cut"
        within a call, had a call that cannot be read ("form"), or was "empty".
    """

    usage: Usage | None = None
    finish_reasons: tuple[FinishReason, ...] = ()
    stop_sequence: str | None = None
    format_missed: bool = False
    format_unchecked: bool = False
    arguments_unchecked: bool = False
    repaired: Literal["cut", "form", "empty"] | None = None


@dataclass(frozen=True, slots=True)
class OfferedTools:
    """Says how the offered tools stand in the prompt.

    stage: how far their descriptions were shortened, from 0 (not at all) to 3.
    shortened: how many descriptions were. characters: the length of the list.
    """

    count: int
    characters: int
    stage: int = 0
    shortened: int = 0

    def header(self) -> str:
        """Return the value of the header `x-fitten-tools`."""
        return f"{self.count};stage={self.stage};chars={self.characters}"


@dataclass(slots=True, eq=False)
class Outcome:
    """Records one request from its arrival to its end; each method records one event.

    It exists for every request that reaches a route, also when the request fails before the
    upstream is asked. Times are of the monotonic clock, in seconds.

    status: the HTTP status; 499 when the client left before the answer began.
    ended: how the request ended; None while it runs.
    cause: why it failed; None unless it did. code: what `end` returns of that.
    message, param: the error's sentence, and the field at fault.
    detail: what failed below; see `GatewayError`. For logs, never for clients.
    usage, finish_reasons, stop_sequence, format_missed, format_unchecked, arguments_unchecked,
    repaired: see `AnswerResult`.
    offered: how the tools stand in the prompt; None without tools.
    prompt_tokens: an estimate that exists before the first piece; None without a prompt.
    account: the upstream's account that served it last; for logs, never for clients.
    tries: how many accounts it was given to.
    upstream_status: the last HTTP status of the upstream, or the status in its error object.
    queued: seconds in the queue for a slot, and in line for the caller's own concurrency.
    bytes_sent: bytes of the answer's body; None when that is not known.
    loop: how often an agent has made its last call with the same result; 0 unless it is a loop.
    squeezed: characters of tool results that were left out of a request for a summary.
    """

    started: float = field(default_factory=time.monotonic)
    first_piece: float | None = None
    finished: float | None = None
    queued: float = 0.0
    status: int | None = None
    ended: Literal["complete", "failed", "client_left"] | None = None
    cause: Cause | None = None
    code: str | None = None
    message: str | None = None
    param: str | None = None
    detail: str | None = None
    usage: Usage | None = None
    finish_reasons: tuple[FinishReason, ...] = ()
    stop_sequence: str | None = None
    format_missed: bool = False
    format_unchecked: bool = False
    arguments_unchecked: bool = False
    repaired: Literal["cut", "form", "empty"] | None = None
    offered: OfferedTools | None = None
    prompt_tokens: int | None = None
    account: str | None = None
    tries: int = 0
    upstream_status: int | None = None
    bytes_sent: int | None = None
    loop: int = 0
    squeezed: int = 0

    @property
    def end(self) -> str | None:
        """Return "complete", or the code of the error; None while the request runs."""
        return self.code or self.ended

    def estimate_prompt(self, tokens: int) -> None:
        """Record the likely tokens of the prompt; a repeated request does not change them."""
        if self.prompt_tokens is None:
            self.prompt_tokens = tokens

    def notice_loop(self, count: int) -> None:
        """Record that an agent has made the same call so often with the same result."""
        self.loop = count

    def offer_tools(self, offered: OfferedTools) -> None:
        """Record how the tools stand in the prompt; a repeated request does not change it."""
        if self.offered is None:
            self.offered = offered

    def squeeze(self, chars: int) -> None:
        """Record that so many characters of tool results were left out."""
        self.squeezed = chars

    def leave_queue(self, seconds: float) -> None:
        """Record that a wait for a slot or in line ended, with or without success."""
        self.queued += seconds

    def try_account(self, name: str) -> None:
        """Record that an account is going to serve the request."""
        self.account = name
        self.tries += 1

    def receive_status(self, status: int) -> None:
        """Record the status of the upstream."""
        self.upstream_status = status

    def receive_first_piece(self) -> None:
        """Record that the first piece has come; later ones change nothing."""
        if self.first_piece is None:
            self.first_piece = time.monotonic()

    def receive_result(self, result: AnswerResult) -> None:
        """Record what the upstream answered, as far as it came."""
        self.usage, self.finish_reasons = result.usage, result.finish_reasons
        self.stop_sequence, self.format_missed = result.stop_sequence, result.format_missed
        self.format_unchecked = result.format_unchecked
        self.arguments_unchecked = result.arguments_unchecked
        self.repaired = result.repaired

    def send(self, size: int) -> None:
        """Record how many bytes of the body were sent."""
        self.bytes_sent = size

    def complete(self, status: int, size: int | None) -> None:
        """Record that the whole answer was sent; `size` counts unless one was recorded."""
        self.ended, self.status = "complete", status
        self.finished = time.monotonic()
        self.cause = self.code = self.message = self.param = self.detail = None
        if self.bytes_sent is None:
            self.bytes_sent = size

    def fail(
        self, error: GatewayError, *, status: int | None = None, end: str | None = None
    ) -> None:
        """Record that the client gets this error.

        status: the one that the client gets, if it is not the error's.
        end: what `end` returns in place of the code.
        """
        self.ended, self.status = "failed", status or error.status
        self.finished = time.monotonic()
        self.cause, self.code = error.cause, end or error.code or "error"
        self.message, self.param, self.detail = error.message, error.param, error.detail
        self.upstream_status = error.upstream_status or self.upstream_status

    def lose_client(self) -> None:
        """Record that the client left before the end."""
        self.ended, self.status = "client_left", _CLIENT_GONE_STATUS
        self.finished = time.monotonic()
        self.cause = self.code = CLIENT_GONE
        self.message = self.param = self.detail = None
